"""What was counted, summed over processes, by the names in `metrics`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from operator import add, sub
from typing import Self

from gateway.metrics import SIZE, Metric


class Totals:
    """Immutable: one look at all cells."""

    __slots__ = ("cells",)

    def __init__(self, cells: Sequence[int]) -> None:
        self.cells = cells

    @classmethod
    def of(cls, processes: Iterable[Iterable[int]]) -> Self:
        """The sums of several processes' cells."""
        total = [0] * SIZE
        for cells in processes:
            total = list(map(add, total, cells))
        return cls(total)

    def __sub__(self, earlier: Totals) -> Totals:
        """What was counted since an earlier look. Gauges have no difference: theirs mean nothing."""
        return Totals(list(map(sub, self.cells, earlier.cells)))

    def value(self, metric: Metric, *labels: str) -> int:
        """Of a counter or a gauge with just these labels."""
        return self.cells[metric.at(*labels)]

    def series(self, metric: Metric) -> Iterator[tuple[tuple[str, ...], int]]:
        """Label values and value of all series of a counter or a gauge that are not zero."""
        for labels, index in metric.series():
            if count := self.cells[index]:
                yield labels, count

    def sum(self, metric: Metric, **labels: str) -> int:
        """Over all series that have these labels; of a histogram, how often it was observed."""
        if not labels and metric.width == 1:
            return sum(self.cells[metric.offset : metric.offset + metric.size])
        return sum(sum(self.cells[index : index + max(1, metric.width - 1)]) for index in _matching(metric, labels))

    def buckets(self, metric: Metric, **labels: str) -> tuple[list[int], float]:
        """Of all series of a histogram that have these labels: how many each bucket holds (not cumulated), and the sum
        in seconds."""
        cells = [0] * metric.width
        for index in _matching(metric, labels):
            cells = list(map(add, cells, self.cells[index : index + metric.width]))
        return cells[:-1], cells[-1] / 1e6

    def quantile(self, metric: Metric, share: float, **labels: str) -> float | None:
        """Seconds that a `share` (0 to 1) of what was observed took at most, as Prometheus's histogram_quantile has it:
        interpolated in its bucket; None if nothing was observed."""
        buckets, _ = self.buckets(metric, **labels)
        total = sum(buckets)
        if not total:
            return None
        wanted = share * total
        for number, upto in enumerate(accumulate(buckets)):
            if upto >= wanted and buckets[number]:
                break
        if number == len(metric.bounds):
            return metric.bounds[-1]  # nobody knows how far beyond
        below = metric.bounds[number - 1] if number else 0.0
        within = (wanted - (upto - buckets[number])) / buckets[number]
        return below + (metric.bounds[number] - below) * within


def _matching(metric: Metric, labels: dict[str, str]) -> Iterator[int]:
    for values, index in metric.series():
        named = dict(zip(metric.labels, values, strict=True))
        if all(named[label] == value for label, value in labels.items()):
            yield index
