"""The README's figures: a table and a picture, generated from a result and never written by hand.

.venv/bin/python -m bench.readme                     prints the table of the latest run
.venv/bin/python -m bench.readme --publish [RESULT]  keeps that run as bench/published.json, and writes the README's
                                                     table and docs/images/bench.svg from it
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench import chart
from bench.peers import PEERS
from bench.processes import ROOT
from bench.report import Result, load, save
from bench.samples import Summary
from bench.workloads import WORKLOADS, Kind

RESULT = ROOT / "bench" / "results" / "latest.json"
PUBLISHED = ROOT / "bench" / "published.json"
README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "images" / "bench.svg"
BEGIN, END = "<!-- figures: written by python -m bench.readme -->\n", "<!-- end of figures -->\n"
SHOWN = (
    *("get_tls", "get_same", "mixed_200", "resp_1m", "upload_1m", "h2_get", "h2_mixed", "h2_resp_1m", "h2_grpc"),
    *("ws_32", "new_conn", "refused", "idle_tls"),
)


def markdown(result: Result) -> str:
    """A table of CPU time and memory, peers as columns, and a line that says where and when."""
    return "\n".join(_lines(result)) + "\n"


def figures(readme: str) -> str:
    """The table as the README has it."""
    return readme.partition(BEGIN)[2].partition(END)[0]


def _publish(result: Result) -> None:
    result.samples = []  # the medians are what is published
    save(result, PUBLISHED)
    text = README.read_text(encoding="utf-8")
    README.write_text(text.replace(BEGIN + figures(text) + END, BEGIN + markdown(result) + END), encoding="utf-8")
    PICTURE.write_text(chart.bars(result), encoding="utf-8")


def _lines(result: Result) -> Iterator[str]:
    found = {(summary.workload, summary.peer): summary for summary in result.summaries}
    peers = list(dict.fromkeys(summary.peer for summary in result.summaries))
    yield f"| | {' | '.join(PEERS[peer].title for peer in peers)} |"
    yield f"|---|{'---:|' * len(peers)}"
    for name in SHOWN:
        if any((name, peer) in found for peer in peers):
            cells = (_cell(found.get((name, peer))) for peer in peers)
            yield f"| {_title(name)} | {' | '.join(cells)} |"
    yield ""
    judged = [verdict for verdict in result.verdicts if verdict.reached is not None]
    reached = f" {sum(bool(verdict.reached) for verdict in judged)} of {len(judged)} targets reached." if judged else ""
    yield (
        f"CPU time in all of the proxy's processes, on one core; {result.method()}; in one run on "
        f"{result.machine.sentence()}.{reached} Repeat it with `make bench`."
    )


def _title(name: str) -> str:
    workload = WORKLOADS[name]
    return f"{workload.title}, {'KiB' if workload.kind is Kind.IDLE else 'µs'}"


def _cell(summary: Summary | None) -> str:
    if summary is None or summary.left_out:
        return "–"
    if summary.errors:
        return "failed"
    return f"{summary.figure:,.0f}" if summary.figure >= 10 else f"{summary.figure:.1f}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.readme", description="the README's table, from a result")
    parser.add_argument("result", nargs="?", type=Path, default=RESULT)
    parser.add_argument("--publish", action="store_true", help="write README.md, its picture and bench/published.json")
    options = parser.parse_args()
    try:
        result = load(options.result)
    except (OSError, msgspec.MsgspecError) as error:
        print(f"{options.result}: {error}", file=sys.stderr)
        return 1
    print(markdown(result), end="")
    if options.publish:
        _publish(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
