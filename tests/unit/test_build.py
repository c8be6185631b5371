"""What is compiled, and how to tell which build runs."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
import traceback
from pathlib import Path
from types import ModuleType

import pytest

from gateway.build import BUILD, COMPILED
from gateway.errors import GatewayError
from gateway.http.head_parser import HeadLimits, parse_request_head
from gateway.pure import SourcesOnly

ROOT = Path(__file__).parents[2]


def compiler() -> ModuleType:
    specification = importlib.util.spec_from_file_location("compile_hot_path", ROOT / "config/build/compile.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_every_room_that_is_compiled_exists() -> None:
    module = compiler()
    for room in module.ROOMS:
        assert list(ROOT.glob(room)), f"{room}: moved?"
    listed = module.modules()
    assert "gateway/edge/exchange.py" in listed
    assert not [path for path in listed if path.endswith("__init__.py")]
    assert len(listed) == len(set(listed))


def test_who_derives_from_a_trait_is_compiled_too() -> None:
    """An interpreted class cannot, and says so only when a compiled build imports it."""
    classes = {
        (path, node.name): node
        for path in (ROOT / "gateway").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    }
    derive = {name for (_, name), node in classes.items() if "trait" in map(ast.unparse, node.decorator_list)}
    assert {"RequestSink", "ResponseSink", "DownstreamStream"} <= derive
    traits = len(derive)
    for _ in range(5):  # heirs of heirs
        derive |= {name for (_, name), node in classes.items() if derive & set(map(ast.unparse, node.bases))}
    assert len(derive) > traits
    compiled = {ROOT / path for path in compiler().modules()}
    left = {path.name: name for (path, name), _ in classes.items() if name in derive and path not in compiled}
    assert not left, f"add these to ROOMS of config/build/compile.py: {left}"


def test_the_build_is_told() -> None:
    assert ("compiled" if COMPILED else "pure") == BUILD
    said = subprocess.run(
        [sys.executable, "-m", "gateway", "--version"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert said.stdout.rstrip().endswith(f"({BUILD})")


def test_sources_are_run_where_that_is_asked_for() -> None:
    asked = {**os.environ, "GATEWAY_PURE": "1"}
    said = subprocess.run(
        [sys.executable, "-m", "gateway", "--version"], capture_output=True, text=True, check=True, env=asked, cwd=ROOT
    )
    assert said.stdout.rstrip().endswith("(pure)")


@pytest.mark.compiled
def test_a_traceback_of_a_compiled_gateway_names_file_and_line() -> None:
    with pytest.raises(GatewayError) as caught:
        parse_request_head(b"GET\r\n\r\n", HeadLimits(8192, 8192, 8192, 64))
    told = "".join(traceback.format_exception(caught.value))
    source = (ROOT / "gateway/http/head_parser.py").read_text().splitlines()
    named = re.findall(r'File "\S*gateway/http/head_parser\.py", line (\d+), in (\w+)', told)
    assert named[-2][1] == "parse_request_head", told
    assert "raise GatewayError" in source[int(named[-1][0]) - 1], told


def test_an_extension_is_not_found_by_who_wants_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.machinery import EXTENSION_SUFFIXES, PathFinder

    package = tmp_path / "both"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "part.py").touch()
    (package / f"part{EXTENSION_SUFFIXES[0]}").touch()
    usual = PathFinder.find_spec("both.part", [str(package)])
    assert usual is not None and str(usual.origin).endswith(EXTENSION_SUFFIXES[0])
    pure = SourcesOnly("both").find_spec("both.part", [str(package)])
    assert pure is not None and str(pure.origin).endswith("part.py")
    assert SourcesOnly("other").find_spec("both.part", [str(package)]) is None
    assert SourcesOnly("both").find_spec("both.gone", [str(package)]) is None
