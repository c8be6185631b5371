"""docs/logs.md: each key of a line, in the order of the line, with when it is left out; its examples are lines."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from gateway.observe.access_log import AccessRecord, ProxyInfo, json_lines

PAGE = (Path(__file__).parents[3] / "docs" / "logs.md").read_text()
_ROW = re.compile(r"^\| `(\w+)` \|[^|]*\| .+ \| (.+) \|$", re.MULTILINE)
_EXAMPLE = re.compile(r"```json\n(\{.*\})\n```")


def test_every_key_has_its_row_and_no_other() -> None:
    fields = [*msgspec.structs.fields(AccessRecord), *msgspec.structs.fields(ProxyInfo)]
    assert [name for name, _ in _ROW.findall(PAGE)] == [field.name for field in fields]


@pytest.mark.parametrize(("name", "left_out"), _ROW.findall(PAGE))
def test_a_key_without_a_default_is_never_left_out(name: str, left_out: str) -> None:
    fields = {field.name: field for struct in (AccessRecord, ProxyInfo) for field in msgspec.structs.fields(struct)}
    assert (left_out == "never") == fields[name].required


def test_the_example_is_a_line() -> None:
    examples = _EXAMPLE.findall(PAGE)
    assert examples
    for example in examples:
        record = msgspec.json.decode(example, type=AccessRecord)
        assert json_lines([record]).decode().strip() == example


def test_questions_are_answered() -> None:
    """Keys that they ask for are there."""
    asked = set(re.findall(r"(?<![\w.])\.([a-z]\w+)", PAGE.partition("## Questions")[2].partition("## journald")[0]))
    assert asked
    assert asked <= {field.name for field in msgspec.structs.fields(AccessRecord)} | {"log"}
