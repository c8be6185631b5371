"""What is counted reads well of one: `1 connection`, not `1 connections`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import gateway
from gateway.counting import counted

NOUNS = (
    "addresses|blocks|bytes|calls|certificates|characters|connections|days|domains|entries|errors|events|exchanges|fields|"
    "files|frames|hours|ids|lines|members|messages|minutes|octets|others|ports|processes|processors|records|redirects|"
    "requests|sandboxes|seconds|sockets|spans|streams|times|trailers|tunnels|units|warnings|WebSockets|workers"
)
PLURAL = re.compile(rf" (?:more |other |event )?(?:{NOUNS})\b(?!=)")
COUNTED_BY_THE_LOG = re.compile(rf"%d (?:more |other |event )?(?:{NOUNS})\b")
FIXED = re.compile(
    r"[A-Z_0-9]+( - 1)?|bucket\.rate|self\._accepted\(stream\)|"
    r"end|length|capacity|len\((name|label|value|plain|body)\)"
)
"""Constants, and what is no number; and what is told of only beyond a limit of many."""


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 tunnels"), (1, "1 tunnel"), (2, "2 tunnels"), (-1, "-1 tunnels"), (21, "21 tunnels")]
)
def test_nouns(number: int, said: str) -> None:
    assert counted(number, "tunnel") == said


def test_a_noun_of_its_own() -> None:
    assert [counted(number, "sandbox", "sandboxes") for number in (1, 2)] == ["1 sandbox", "2 sandboxes"]


def read_by_people(tree: ast.AST) -> Iterator[ast.AST]:
    """All of it but for a `__repr__`, which is for who debugs."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if not isinstance(child, ast.FunctionDef) or child.name != "__repr__":
            yield from read_by_people(child)


def sentences(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Where a number stands before a plural, however many there are."""
    for node in read_by_people(tree):
        if isinstance(node, ast.JoinedStr):
            for value, text in zip(node.values, node.values[1:], strict=False):
                if not isinstance(value, ast.FormattedValue) or not isinstance(text, ast.Constant):
                    continue
                number = ast.unparse(value.value)
                if PLURAL.match(str(text.value)) and not FIXED.fullmatch(number):
                    yield node.lineno, f"{{{number}}}{text.value}"
        elif isinstance(node, ast.Constant) and COUNTED_BY_THE_LOG.search(str(node.value)):
            yield node.lineno, str(node.value)


def test_nobody_counts_otherwise() -> None:
    root = Path(gateway.__file__).parent
    found = [
        f"{path.relative_to(root)}:{line}: {said}"
        for path in sorted(root.rglob("*.py"))
        for line, said in sentences(ast.parse(path.read_text()))
    ]
    assert not found, "use gateway.counting.counted:\n" + "\n".join(found)


def test_nor_do_pages() -> None:
    plural = re.compile(rf"\$\{{(?!command)[^}}]+\}} (?:{NOUNS})\b")
    root = Path(gateway.__file__).parent
    found = [f"{path.name}: {each[0]}" for path in root.rglob("*.js") for each in plural.finditer(path.read_text())]
    assert not found, found
