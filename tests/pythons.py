"""Runs the tests on every supported Python that this machine has, each in a virtual environment of its own.

    make test-pythons                              every test on every version
    make test-pythons ARGS="tests/unit -k hostname"
    make test-pythons ARGS="--ends tests/unit"     the oldest and the newest found, but not .venv's version

Which versions are supported is read from the classifiers in pyproject.toml. A version that is not there is named, with
the commands that bring it, and is no failure. Owns how interpreters are found; uses the standard library only, because
it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENTS = ROOT / ".venv-pythons"
PATIENCE = 30.0
"""Seconds for an interpreter to say what it is."""
_CLASSIFIER = re.compile(r"Programming Language :: Python :: (3\.\d+)")
_QUESTION = """
import importlib.util, json, platform, sys
final = sys.version_info.releaselevel == "final" and platform.python_implementation() == "CPython"
environments = all(importlib.util.find_spec(name) for name in ("ensurepip", "venv"))
print(json.dumps([platform.python_version(), final, environments]))
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A CPython of a released version."""

    path: Path
    release: str
    """ "3.12.1" """
    makes_environments: bool
    """False: Debian's without its package python3-venv."""

    @property
    def version(self) -> str:
        """ "3.12" """
        return ".".join(self.release.split(".")[:2])


def supported(pyproject: Path = ROOT / "pyproject.toml") -> list[str]:
    """The versions in the classifiers, the oldest first."""
    classifiers = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["classifiers"]
    found = [match[1] for each in classifiers if (match := _CLASSIFIER.fullmatch(each))]
    return sorted(found, key=_number)


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def candidates(versions: Sequence[str], environ: Mapping[str, str]) -> Iterator[Path]:
    """Programs that may be interpreters: on the path, the system's, pyenv's and uv's, in this order."""
    home = Path(environ.get("HOME", "/"))
    pyenv = Path(environ.get("PYENV_ROOT") or home / ".pyenv") / "versions"
    share = Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    uv = Path(environ.get("UV_PYTHON_INSTALL_DIR") or share / "uv" / "python")
    folders = [Path(each) for each in environ.get("PATH", os.defpath).split(os.pathsep) if each]
    folders += [Path("/usr/local/bin"), Path("/usr/bin")]
    folders += [each / "bin" for parent in (pyenv, uv) if parent.is_dir() for each in sorted(parent.iterdir())]
    names = ["python3", *(f"python{version}" for version in versions)]
    for folder in dict.fromkeys(folders):
        for name in names:
            if os.access(folder / name, os.X_OK):
                yield folder / name


def look(path: Path) -> Interpreter | None:
    """What `path` is, by running it: version managers leave shims that point at nothing."""
    try:
        done = subprocess.run([path, "-c", _QUESTION], capture_output=True, check=True, timeout=PATIENCE)
        release, final, makes_environments = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Interpreter(path, release, makes_environments) if final else None


def discover(paths: Iterator[Path], versions: Sequence[str]) -> dict[str, Interpreter]:
    """The first interpreter of each version; one that makes environments is preferred."""
    found: dict[str, Interpreter] = {}
    asked = set()
    for path in paths:
        real = path.resolve()
        if real in asked:
            continue
        asked.add(real)
        interpreter = look(path)
        if interpreter is None or interpreter.version not in versions:
            continue
        known = found.get(interpreter.version)
        if known is None or (interpreter.makes_environments and not known.makes_environments):
            found[interpreter.version] = interpreter
    return {version: found[version] for version in sorted(found, key=_number)}


def environment(interpreter: Interpreter) -> Path:
    """The Python of an environment with the gateway and what its tests need. Raises CalledProcessError."""
    folder = ENVIRONMENTS / interpreter.version
    python, stamp = folder / "bin" / "python", folder / ".installed-from"
    made_of = hashlib.sha256(f"{interpreter.path} {interpreter.release}".encode())
    for name in ("pyproject.toml", "constraints.txt"):
        made_of.update((ROOT / name).read_bytes())
    if python.exists() and stamp.exists() and stamp.read_text() == made_of.hexdigest():
        return python
    say(f"{interpreter.version}: installing into {folder.relative_to(ROOT)}")
    _quietly([interpreter.path, "-m", "venv", "--clear", folder])
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    _quietly([*pip, "-c", "constraints.txt", "-e", ".[test]"])
    stamp.write_text(made_of.hexdigest())
    return python


def _quietly(command: Sequence[str | Path]) -> None:
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def tested(interpreter: Interpreter, arguments: Sequence[str]) -> bool:
    """Whether pytest with `arguments` passed."""
    try:
        python = environment(interpreter)
    except subprocess.CalledProcessError as error:
        say(f"{interpreter.version}: {error}\n{error.output.decode(errors='replace')}")
        return False
    say(f"{interpreter.version}: pytest {' '.join(arguments)}  ({interpreter.release}, {interpreter.path})")
    # A cache of its own: `--last-failed` of another version would be another question.
    command = [python, "-m", "tests.run", "-o", f"cache_dir={python.parents[1] / '.pytest_cache'}", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def chosen(found: Mapping[str, Interpreter], *, ends: bool, own: str) -> list[Interpreter]:
    """Which of `found`, the oldest first, are to run; `own` is the version that `make test` takes care of."""
    if not ends:
        return list(found.values())
    return [found[version] for version in dict.fromkeys([*list(found)[:1], *list(found)[-1:]]) if version != own]


def summary(found: Mapping[str, Interpreter], missing: Sequence[str]) -> str:
    """What there is and what there is not, with the commands that bring it."""
    parts = ["found " + ", ".join(each.release for each in found.values())] if found else ["found none"]
    for version in missing:
        parts.append(
            f"no {version} (pyenv install {version}, uv python install {version}, "
            f"or the packages python{version} and python{version}-venv)"
        )
    return "; ".join(parts)


def say(text: str) -> None:
    print(f"test-pythons: {text}", flush=True)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make test-pythons", add_help=False, allow_abbrev=False)
    parser.add_argument("--ends", action="store_true")
    options, for_pytest = parser.parse_known_args(arguments)
    versions = supported()
    there = discover(candidates(versions, os.environ), versions)
    found = {version: each for version, each in there.items() if each.makes_environments}
    for version in there.keys() - found.keys():
        say(f"{there[version].path} cannot make environments: apt-get install python{version}-venv")
    missing = [version for version in versions if version not in there]
    say(summary(found, missing))
    own = ".".join(map(str, sys.version_info[:2]))
    runs = {each.version: tested(each, for_pytest) for each in chosen(found, ends=options.ends, own=own)}
    failed = [version for version, passed in runs.items() if not passed]
    passed = [version for version, passed in runs.items() if passed]
    if options.ends and own in found:
        say(f"{own} is .venv's: make test runs it")
    say(f"passed on {', '.join(passed) or 'none'}" + (f"; FAILED on {', '.join(failed)}" if failed else ""))
    return 1 if failed or not found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
