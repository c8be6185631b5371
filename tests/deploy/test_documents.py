"""The operator's documents: every link leads somewhere, and every command is one that there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway import cli

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = [DOCS / "deploy.md", DOCS / "operate.md"]
LINK = re.compile(r"\]\(([^)\s]*)\)")
CODE = re.compile(r"^```sh\n(.*?)^```|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:^|/bin/|(?<!--namespace)[ (])gateway ([a-z][^#&|)\n]*)", re.MULTILINE)
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def anchor(heading: str) -> str:
    """As forges make it: lower case, without punctuation, hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        path, _, fragment = link.partition("#")
        assert not path.startswith("http"), "documents stand on their own"
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if fragment:
            assert fragment in map(anchor, HEADING.findall(target.read_text())), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_understood(page: Path) -> None:
    code = CODE.findall(page.read_text())
    commands = [match for each in code for match in COMMAND.findall("".join(each))]
    assert len(commands) > 5
    for verb, *arguments in map(str.split, commands):
        assert re.search(rf"^    {verb}\b", cli._parser().format_help(), re.MULTILINE), verb
        if arguments:
            words = ["x" if word.isupper() else word for word in arguments]  # what everybody has another one of
            cli._parser().parse_args([verb, *words])  # else SystemExit


def test_nobody_is_sent_to_an_index_for_the_program() -> None:
    """The name is free there: whoever takes it would be installed."""
    root = DOCS.parent
    configured = [each for each in (root / "config").rglob("*.*") if each.suffix != ".pyc"]
    for file in [*PAGES, root / "README.md", root / "Dockerfile", *configured]:
        assert not re.search(r"pip3? install (-\S+ )*[\"']?sandbox-gateway(?! @)\b", file.read_text()), file
