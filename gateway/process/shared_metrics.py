"""Where what the processes of a gateway have counted is seen: a block of cells for each, in memory that all share.

    header | kept | block | block | ...

`kept` holds what processes that have ended had counted, and what the supervisor counts itself. A process is given a
block before it is forked, copies its cells there when it writes its log, and is alone in writing it; so what is in the
log is counted even of a process that is killed. When it has ended, the supervisor adds its counters to `kept`, and the
block may be given away anew. The admin process reads, whenever it is asked: nobody has to answer for that, not even a
worker that is stuck.

Knows no metric but by its kind. Only the supervisor, which is one thread, gives and takes.
"""

from __future__ import annotations

import logging
import mmap
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.counting import counted
from gateway.metrics import CPU, METRICS, SIZE, Cells, Kind, Metric
from gateway.observe.totals import Totals

log = logging.getLogger("gateway.process")

_PID, _NUMBER, _HEAD = 0, 1, 2
"""Cells before a block's own: the process that has it, 0 if none has; its slot."""
ADMIN = -1
"""In place of a worker's number."""
MAX_LOOKS = 1000
"""At blocks that are just given back: see `reload_state.MAX_LOOKS`."""
_GROWING = tuple((metric.offset, metric.offset + metric.size) for metric in METRICS if metric.kind is not Kind.GAUGE)


@dataclass(frozen=True, slots=True)
class Block:
    """What one process is given."""

    cells: memoryview | None = None
    """None: nobody sees what this process counts, because there were too many at once."""
    head: memoryview | None = None

    def publish(self, cells: Cells) -> None:
        """By the process that has it: shows what it has counted. 15 µs."""
        if self.cells is not None:
            self.cells[:] = array("q", cells)

    def belongs_to(self, pid: int, number: int) -> None:
        """By the supervisor, once it is forked."""
        if self.head is not None:
            self.head[_NUMBER] = number
            self.head[_PID] = pid


class SharedMetrics:
    """Made before the first fork, for at most `processes` at once."""

    def __init__(self, processes: int) -> None:
        each = _HEAD + SIZE
        # Pages that nobody has touched are not there.
        cells = memoryview(mmap.mmap(-1, 8 * (1 + SIZE + processes * each))).cast("q")
        self._version = cells[:1]  # odd while a block is given back
        self.kept = cells[1 : 1 + SIZE]
        """Cells of the supervisor."""
        first = range(1 + SIZE, len(cells), each)
        self._blocks = [Block(cells[at + _HEAD : at + each], cells[at : at + _HEAD]) for at in first]
        self._free = self._blocks[::-1]
        self._cpu = 0  # microseconds of the supervisor that are counted
        self.started = time.time()
        """Unix time."""

    def __repr__(self) -> str:
        return f"<SharedMetrics {len(self._blocks) - len(self._free)} of {len(self._blocks)} blocks in use>"

    def take(self) -> Block:
        """A block for a process that is about to be forked."""
        if self._free:
            return self._free.pop()
        under_way = counted(len(self._blocks), "process", "processes")
        log.error("what the next process counts is not shown: still there: %s", under_way)
        return Block()

    def give_back(self, block: Block) -> None:
        """Its process has ended, or was never forked. What it had counted is kept."""
        if block.head is None or block.cells is None:
            return
        kept, cells = self.kept, block.cells
        self._version[0] += 1
        for begin, end in _GROWING:
            for index, count in enumerate(cells[begin:end], begin):
                if count:
                    kept[index] += count
        block.head[_PID] = block.head[_NUMBER] = 0
        cells.cast("B")[:] = bytes(cells.nbytes)
        self._version[0] += 1
        self._free.append(block)

    def count(self, metric: Metric, *labels: str) -> None:
        """One more, by the supervisor."""
        self.kept[metric.at(*labels)] += 1

    def count_own_time(self) -> None:
        """What the supervisor has cost since it was last asked."""
        now = time.process_time_ns() // 1000
        self.kept[CPU.at()] += now - self._cpu
        self._cpu = now

    # --- in the admin process ------------------------------------------------------------------------------------

    def read(self) -> Totals:
        """What all processes have counted. As of one moment, but for what is being counted just now."""
        for _ in range(MAX_LOOKS):
            version = self._version[0]
            blocks = [self.kept, *(block.cells for block, _, _ in self._in_use() if block.cells is not None)]
            totals = Totals.of(blocks)
            if not version % 2 and version == self._version[0]:
                break
        return totals

    def processes(self) -> Iterator[tuple[int, int]]:
        """Pid and worker number (or `ADMIN`) of those that run."""
        for _, pid, number in self._in_use():
            yield pid, number

    def _in_use(self) -> Iterator[tuple[Block, int, int]]:
        for block in self._blocks:
            assert block.head is not None  # those outside have none
            if pid := block.head[_PID]:
                yield block, pid, block.head[_NUMBER]
