"""The benchmark's command line.

Ends with status 0 when everything ran, 1 when something could not be measured (said at the end), 2 for usage.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import chart, compiled, curves, machine, peers, report, runner, turns
from bench.processes import ROOT, find
from bench.samples import COMPILED, Sample, summarize
from bench.site import Unable, open_site
from bench.targets import judge
from bench.workloads import TURN_SECONDS, WORKLOADS, Kind, Workload

RESULTS = ROOT / "bench" / "results"
QUICK_PEERS = ("gateway", "nginx", "go")
QUICK_WORKLOADS = ("get_tls", "get_plain", "refused", "new_conn", "ws_32", "h2_get", "h2_grpc")
CURVE_PEERS = ("gateway", "nginx", "go")
SECONDS, LEAST_ROUNDS, MOST_ROUNDS = 2.0, 4, 7
QUICK_SECONDS, QUICK_ROUNDS = 0.5, 1
CURVE_SECONDS, CURVE_ROUNDS = 3.0, 1
"""Of one measurement: each point of a curve is one, in a fresh proxy."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs it; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    known = curves.CURVES if options.curves else WORKLOADS
    for name in options.only:
        if name not in known:
            parser.error(f"--only: {name} is none of {', '.join(known)}")
    for name in options.peers or ():
        if name not in peers.PEERS:
            parser.error(f"--peers: {name} is none of {', '.join(peers.PEERS)}")
    if options.seconds is not None and options.seconds <= 0:
        parser.error("--seconds: more than 0")
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds: at least 1")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # whoever stops us, what we started ends too
    try:
        if options.before:
            peers.add_before(options.before)
        return _curves(options) if options.curves else _side_by_side(options)
    except Unable as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="The gateway beside nginx, HAProxy, Go, Caddy and aiohttp: same machine, same load, same run.",
    )
    parser.add_argument("--quick", action="store_true", help="a glance within a minute: three peers, one round")
    parser.add_argument(
        "--curves",
        action="store_true",
        help="cost against connections, sandboxes, body size, fields, streams per connection",
    )
    parser.add_argument(
        "--only", type=_names, default=[], metavar="A,B", help=f"workloads ({', '.join(WORKLOADS)}) or curves"
    )
    parser.add_argument("--peers", type=_names, metavar="A,B", help=f"of {', '.join(peers.PEERS)}")
    parser.add_argument(
        "--before",
        type=Path,
        metavar="DIR",
        help="the gateway of another checkout as a peer: what a change has brought",
    )
    parser.add_argument(
        "--seconds", type=float, metavar="S", help=f"of load on each proxy in each round (default {SECONDS:g})"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        metavar="N",
        help=f"with fresh proxies in each (default: {LEAST_ROUNDS}, and more while ratios are uncertain; curves 1)",
    )
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="where JSON and pictures go")
    return parser


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _side_by_side(options: argparse.Namespace) -> int:
    default = QUICK_PEERS if options.quick else tuple(peers.PEERS)
    before = (peers.BEFORE,) if options.before else ()
    present, absent = _installed(list(dict.fromkeys((*(options.peers or default), *before))))
    chosen = set(options.only or (QUICK_WORKLOADS if options.quick else WORKLOADS))
    if any(WORKLOADS[name].kind is Kind.OPEN_LOOP for name in chosen):
        chosen.add("get_tls")  # half of what is found there
    if COMPILED in present:
        compiled.build()
    workloads = _runnable([workload for name, workload in WORKLOADS.items() if name in chosen])
    fixed = options.rounds or (QUICK_ROUNDS if options.quick else 0)
    seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    where = machine.describe()
    with open_site() as site:
        config = peers.effective_config(site)
        versions = peers.versions(present)
        plan = runner.Plan(present, workloads, fixed or LEAST_ROUNDS, fixed or MOST_ROUNDS, seconds)
        samples = runner.run(plan, site, _ticker())
    summaries = summarize(samples)
    result = report.Result(
        machine=where,
        versions=versions,
        turns=turns.count(seconds, TURN_SECONDS),
        turn_seconds=TURN_SECONDS,
        missing=absent,
        gateway_config=config,
        summaries=summaries,
        verdicts=judge(summaries),
        samples=samples,
    )
    print(config)
    print(report.terminal(result))
    # Only a full run may replace the result that the README shows.
    whole = not (options.only or options.peers or options.quick or options.before)
    name = "latest" if whole else "quick" if options.quick else "partial"
    report.save(result, options.out / f"{name}.json")
    picture = options.out / ("bench.svg" if whole else f"{name}.svg")
    picture.write_text(chart.bars(result))
    print(f"\nwritten: {options.out / name}.json, {picture}")
    return 1 if any(summary.errors for summary in summaries) else 0


def _curves(options: argparse.Namespace) -> int:
    present, _ = _installed(options.peers or CURVE_PEERS)
    names = options.only or list(curves.CURVES)
    if find("wrk") is None:
        raise Unable("the curves need wrk: apt-get install wrk")
    where = machine.describe()
    with open_site() as site:
        points = curves.run(
            names, present, options.rounds or CURVE_ROUNDS, options.seconds or CURVE_SECONDS, site, _ticker()
        )
    for point in points:
        if point.error:
            print(f"{point.curve} {point.peer} at {point.value}: {point.error}")
    written = curves.save(curves.Curves(machine=where, points=points), options.out)
    print(f"\nwritten: {', '.join(map(str, written))}")
    return 1 if any(point.error for point in points) else 0


def _installed(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Peers that can run and those that cannot; says how to get the latter. Installs nothing."""
    missing = peers.missing(list(names))
    packages = [peer.package for peer in missing] + (["wrk"] if find("wrk") is None else [])
    if packages:
        who = ", ".join([*(peer.title for peer in missing), *(["wrk"] if "wrk" in packages else [])])
        print(f"missing: {who}; to have all of it: apt-get install {' '.join(packages)}", file=sys.stderr)
    absent = [peer.name for peer in missing]
    return [name for name in names if name not in absent], absent


def _runnable(workloads: Sequence[Workload]) -> list[Workload]:
    if find("wrk") is not None:
        return list(workloads)
    kept = [workload for workload in workloads if workload.kind not in (Kind.WRK, Kind.OPEN_LOOP)]
    if not kept:
        raise Unable("every workload that was asked for needs wrk: apt-get install wrk")
    print(f"without wrk: {', '.join(each.name for each in workloads if each not in kept)} left out", file=sys.stderr)
    return kept


def _ticker() -> Callable[[Sample], None]:
    """Prints a line per sample, as it is taken."""
    begun = time.monotonic()

    def tell(sample: Sample) -> None:
        figure = f"{sample.held_kib:.1f} KiB" if sample.held_kib else f"{sample.cpu_us:.1f} µs"
        errors = f"  {sample.errors}" if sample.errors else ""
        clock = f"{time.monotonic() - begun:4.0f} s"
        place = f"round {sample.round + 1}"
        print(f"{clock}  {place:<8}  {sample.workload:<18} {sample.peer:<13} {figure:>12}{errors}", file=sys.stderr)

    return tell


if __name__ == "__main__":
    sys.exit(main())
