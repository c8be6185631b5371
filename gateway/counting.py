"""Counted nouns: `1 connection`, `2 connections`."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """`number` and what is counted; `plural` for nouns that take more than an s. Reads well of zero: `0 tunnels`."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"
