"""Which build runs: plain Python, or its hot path compiled from the same sources (config/build/compile.py)."""

from __future__ import annotations

from typing import Final

from gateway import memo

COMPILED: Final = not memo.__file__.endswith(".py")
BUILD: Final = "compiled" if COMPILED else "pure"
