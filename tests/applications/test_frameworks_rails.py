"""Rails, Debian's with Puma and Action Cable, started and told as docs/frameworks.md has it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from tests.applications.frameworks import UPLOAD, ask, framework, get, upload, websocket
from tests.applications.harness import MASKED, PLAIN, Application, Applications
from tests.support.components import require

# `rails new` in one file, as far as it concerns names, forms and WebSockets.
APPLICATION = """
require "rails"
require "action_controller/railtie"
require "action_cable/engine"

class Demo < Rails::Application
  config.load_defaults 6.1
  config.eager_load = false
  config.consider_all_requests_local = true
  config.secret_key_base = "s" * 64
  config.logger = Logger.new($stdout)
  # origin

  routes.append do
    root to: "pages#show"
    get "/login", to: "pages#login"
    post "/upload", to: "pages#upload"
  end
end

class PagesController < ActionController::Base
  include Rails.application.routes.url_helpers

  def show
    render inline: "<%= root_url %> <%= form_authenticity_token %>"
  end

  def login
    redirect_to root_url
  end

  def upload
    render plain: params[:file].size
  end
end
"""
FILES = {
    "config.ru": 'require_relative "config/environment"\nrun Rails.application\n',
    "config/environment.rb": 'require_relative "application"\nRails.application.initialize!\n',
    "config/cable.yml": "development:\n  adapter: async\n",
    "bin/rails": (
        "#!/usr/bin/env ruby\n"
        'APP_PATH = File.expand_path("../config/application", __dir__)\n'
        'ENV["RAILS_ENV"] = "development"\n'
        'require "rails/commands"\n'
    ),
}
NEIGHBOUR = re.compile(r"https://[^\"]+")
"""The page of another port, in the row's setting for Action Cable."""


@contextmanager
def rails(gateway: Applications, folder: Path, *, of: tuple[str, ...] = ("proxy", "origin")) -> Iterator[Application]:
    require("ruby-railties", "ruby-actioncable", "puma")
    row = framework("Rails")
    for name, source in (FILES | {"config/application.rb": row.told(APPLICATION, gateway, of=of)}).items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)
    (folder / "bin" / "rails").chmod(0o755)
    with row.started(gateway, folder) as app:
        yield app


def neighbour(gateway: Applications) -> str:
    found = NEIGHBOUR.search(framework("Rails").told("# origin", gateway, of=("origin",)))
    assert found is not None
    return found[0]


def test_rails(elsewhere: Applications, tmp_path: Path) -> None:
    with rails(elsewhere, tmp_path) as app:
        jar = ("--cookie", str(tmp_path / "jar"), "--cookie-jar", str(tmp_path / "jar"))
        for sandbox in (MASKED, PLAIN):
            root, token = get(app, "/", *jar, sandbox=sandbox).text.split()
            assert root == app.url(sandbox=sandbox)
            assert get(app, "/login", sandbox=sandbox).header("Location") == app.url(sandbox=sandbox)
        # Its check of the origin is on, and compares with the public URL that it has from the gateway.
        sent = upload(app, "/upload", tmp_path, *jar, "--header", f"X-CSRF-Token: {token}")
        assert (sent.status, sent.text) == (200, str(UPLOAD))
        for origin in (None, neighbour(elsewhere)):
            with websocket(app, "/cable", origin, subprotocols=["actioncable-v1-json"]) as cable:
                assert json.loads(cable.recv(60)) == {"type": "welcome"}


def test_rails_that_is_told_nothing_refuses_the_name(elsewhere: Applications, tmp_path: Path) -> None:
    with rails(elsewhere, tmp_path, of=()) as app:
        page = ask(app)
        assert page.status == 403
        assert "Rails: config.hosts << '.sandbox.test'" in (page.header("X-Gateway-Hint") or "")
        with pytest.raises(InvalidStatus, match="403"), websocket(app, "/cable"):
            pass
