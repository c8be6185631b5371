"""docs/settings.md, printed from the schema: `python -m gateway.config.reference > docs/settings.md`.

Owns the page's words about how settings are written; everything about one setting is the schema's own. A test compares
the page with what is printed here.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator

from gateway.config import settings as schema
from gateway.config.effective import render_toml
from gateway.config.kinds import Kind, Scalar
from gateway.config.sources import KINDS

COMMAND = "python -m gateway.config.reference > docs/settings.md"
"""What writes the page."""

_INTRODUCTION = """\
# Settings

<!-- Written by: {command} -->

Every setting, its default and what it does. `gateway check --config FILE` shows the same list with the values in force,
where each came from, and whatever is wrong. [config/](../config/) holds configurations that work as they stand.

- A setting stands in the TOML file under its section, or in the environment: `edge.public_port` is `public_port` under
  `[edge]`, and `GATEWAY_EDGE__PUBLIC_PORT`. A flag goes before the environment, that before the file, that before the
  default.
- In the environment a list is written as in the file or with commas: `GATEWAY_EDGE__DOMAINS=a.example,b.example`.
- Durations are `"500ms"`, `"5s"`, `"1h30m"`; sizes `"64KiB"`, `"16MiB"`; addresses to listen on `"[::]:443"`.
- Settings are read at start and at a [reload](operate.md#reloading), which names those that need a restart.

A number follows somebody: in brackets stands who, and “ours” where there is no precedent.
"""


def page() -> str:
    """The whole page, Markdown as GitHub reads it."""
    classes = {node.name: node for node in ast.parse(inspect.getsource(schema)).body if isinstance(node, ast.ClassDef)}
    certificate = _words(classes["Certificate"])
    lines = [_INTRODUCTION.format(command=COMMAND)]
    section = ""
    for path, kind in KINDS.items():
        name, key = path.split(".")
        node = classes[name.capitalize()]
        if name != section:
            section = name
            what = (ast.get_docstring(node) or "").partition(": ")[2]
            lines += [f"## [{name}]\n", f"{what[:1].upper()}{what[1:]}\n", "| setting | default | |", "|---|---|---|"]
        choices = ", ".join(f'`"{choice}"`' for choice in kind.choices) if isinstance(kind, Scalar) else ""
        default = f"`{_default(name, key, kind)}`" + (f"<br>of {choices}" if choices else "")
        lines.append(_row(path, default, _words(node)[key]))
        if path == "tls.certificates":
            lines += [_row(f"{path}[].{part}", "", text) for part, text in certificate.items()]
        if path == _last(name):
            lines.append("")
    return "\n".join(lines)


def _words(node: ast.ClassDef) -> dict[str, str]:
    """The docstring below each field of a struct, on one line."""
    return {field: " ".join(text.split()) for field, text in _documented(node)}


def _documented(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, after in zip(node.body, node.body[1:], strict=False):
        match field, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, text


def _default(section: str, key: str, kind: Kind) -> str:
    return render_toml(kind.encode(getattr(getattr(schema.Settings(), section), key)))


def _last(section: str) -> str:
    return [path for path in KINDS if path.startswith(f"{section}.")][-1]


def _row(path: str, default: str, text: str) -> str:
    return f"| `{path}` | {default} | {text.replace('|', chr(92) + '|')} |"


if __name__ == "__main__":
    sys.stdout.write(page())
