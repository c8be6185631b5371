"""docs/metrics.md, printed from the table: `python -m gateway.admin.metrics_page > docs/metrics.md`."""

from __future__ import annotations

from gateway.admin.metrics import PREFIX, Sources, families
from gateway.metrics import CPU, METRICS, Kind, Metric

COMMAND = "python -m gateway.admin.metrics_page > docs/metrics.md"
MANY = 12
"""Values of a label that are listed; of more, the first few."""

_HEAD = """\
# Metrics

`GET /metrics` on the admin listener (`admin.listen`), as Prometheus reads it, or as OpenMetrics where the scraper
prefers that. It asks for the token where one is configured (`Authorization: Bearer …`, or Basic with the token as
password and any user name). [prometheus.yaml](../config/deploy/prometheus.yaml) scrapes it,
[alerts.yaml](../config/deploy/alerts.yaml) judges it, [dashboard.json](../config/deploy/dashboard.json) draws it; the
admin listener's `/` shows one gateway without any of them.

All processes of a gateway are summed. Counters go on over reloads and over the death of a worker: what is in the
access log is counted, and the other way round, but for what a worker has in hand (a tenth of a second) when it is
killed; octets and look-ups may lag by a second. A new version or a restart begins at zero. Gauges are as of the scrape,
of a process that does not answer as of a second before that.

No host, sandbox, path or client is a label. Methods and statuses that nobody has registered count as `other`, `4xx`
and so on. Durations are in seconds, octets are called bytes, as is Prometheus's custom.

| name | kind | labels | what it says |
|---|---|---|---|
"""


def page() -> str:
    """The whole page."""
    rows = [_row(metric) for metric in METRICS if metric is not CPU]
    shown = {PREFIX + metric.name for metric in METRICS}
    for family in families(Sources(), ready=False):
        name = family.name + ("_total" if family.type == "counter" else "")
        if name not in shown:
            labels = {"certificate": "`name`", "build": "`version`, `python`, `loop`"}
            label = next((text for part, text in labels.items() if part in name), "")
            if name in ("process_resident_memory_bytes", "process_open_fds"):
                label = "`process`: supervisor, admin, worker 0, …"
            rows.append(f"| `{name}` | {family.type} | {label} | {family.documentation} |")
    return _HEAD + "\n".join(rows) + "\n"


def _row(metric: Metric) -> str:
    labels = "; ".join(
        f"`{label}`: {', '.join(values[:MANY])}{', …' if len(values) > MANY else ''}"
        for label, values in zip(metric.labels, metric.values, strict=True)
    )
    text = metric.help
    if metric.kind is Kind.HISTOGRAM:
        text += f" Buckets from {metric.bounds[0]:g} to {metric.bounds[-1]:g} s."
    return f"| `{PREFIX}{metric.name}` | {metric.kind.value} | {labels} | {text} |"


if __name__ == "__main__":
    print(page(), end="")
