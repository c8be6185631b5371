"""The side-by-side benchmark: the same load on the gateway and on the proxies people use instead.

    .venv/bin/python -m bench --quick

Nothing here is imported by the gateway. `workloads` is the list of what is measured, `peers` of who is; `runner` lets
them alternate, and `report`, `chart` and `readme` show what came of it. docs/performance.md says how to read it.
"""
