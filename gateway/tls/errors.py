"""What goes wrong with key material, as sentences for the person who can put it right.

Every error of this room carries the path, what is the matter with it and what to do; `str()` is the one
sentence a command prints. Nothing secret ever stands in them: paths and causes, never contents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path


class KeyMaterialError(UserError):
    """A file of key material that cannot be used. `advice` may be empty."""

    def __init__(self, path: Path, problem: str, advice: str = "") -> None:
        super().__init__(path, problem, advice)
        self.path = path
        self.problem = problem
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.path} {self.problem}" + (f": {self.advice}." if self.advice else ".")


class CertificateError(KeyMaterialError):
    """A configured certificate or its key cannot be served."""


class LocalAuthorityError(KeyMaterialError):
    """The local authority, or a certificate made by it, can be neither used nor made."""


def cause_of(error: OSError) -> str:
    """The short reason of an OSError, lower case and without the path: the sentence names that already."""
    text = error.strerror or type(error).__name__
    return text[:1].lower() + text[1:]
