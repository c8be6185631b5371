"""docs/errors.md: the table as a page, complete, current, and readable once it is rendered."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from gateway.errors import Blame, Reason
from gateway.problems import catalog
from gateway.problems.problem import TYPE_BASE, Problem
from gateway.wordings import WORDINGS

PAGE = Path(__file__).parents[3] / "docs" / "errors.md"


def section(reason: Reason) -> str:
    """The part of the page about `reason`."""
    [_, after] = catalog.page().split(f"\n## {reason}\n")
    return after.split("\n## ")[0]


def test_the_page_is_current() -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert written == catalog.page(), f"docs/errors.md is out of date; rewrite it with: {catalog.COMMAND}"


@pytest.mark.parametrize("reason", Reason, ids=str)
def test_a_section_says_everything_the_row_says(reason: Reason) -> None:
    row, text = reason.row, section(reason)
    assert f"- Status: {row.status} " in text
    assert f"- gRPC status: {row.grpc_status.name} ({row.grpc_status.value})" in text
    assert f"- To blame: {catalog.BLAMED[row.blame]}" in text
    assert f"- The same request may be sent again: {'yes' if row.may_retry else 'no'}" in text
    assert (", if idempotent" in text) is (reason in (Reason.CONNECTION_TERMINATED, Reason.REQUEST_TIMEOUT))
    assert f"- Type in `Proxy-Status`: `{row.proxy_error}`" in text
    wordings = WORDINGS.get(reason, ())
    assert len(re.findall(r"(?m)^\d+\. ", text)) == sum(len(each.checks) for each in (row, *wordings))
    assert len(re.findall(r"(?m)^Where .*: \*\*.*\*\*$", text)) == len(wordings)


@pytest.mark.parametrize("reason", Reason, ids=str)
def test_the_summary_links_every_reason(reason: Reason) -> None:
    lines = [line for line in catalog.page().splitlines() if line.startswith(f"| [`{reason}`](#{reason}) | ")]
    assert len(lines) == 1
    assert len(re.findall(r"(?<!\\)\|", lines[0])) == 7  # six columns


def test_every_blame_has_words_of_its_own() -> None:
    assert set(catalog.BLAMED) == set(Blame)
    assert len(set(catalog.BLAMED.values())) == len(Blame)


def test_placeholders_are_seen_and_not_taken_for_html() -> None:
    outside_code = re.sub(r"<!--.*?-->|`[^`\n]*`", "", catalog.page())
    assert r"\<port>" in outside_code
    assert not re.search(r"(?<!\\)<", outside_code)
    assert not re.search(r"\{[a-z]+\}", catalog.page())
    assert "grep <port>`" in section(Reason.CONNECTION_REFUSED)  # in code nothing is escaped


def test_every_field_of_the_json_form_is_explained() -> None:
    assert list(catalog.JSON_FIELDS) == [field.name for field in msgspec.structs.fields(Problem)], (
        f"gateway.problems.catalog.JSON_FIELDS is out of date; then: {catalog.COMMAND}"
    )
    assert TYPE_BASE in catalog.JSON_FIELDS["type"]
