"""Hatchling's build hook for a wheel of the compiled hot path; off unless HATCH_BUILD_HOOK_ENABLE_CUSTOM=1."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompiledHotPath(BuildHookInterface[Any]):
    """Adds an extension for each compiled module; the sources stay in, for GATEWAY_PURE=1 and for tracebacks."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":  # `make compiled` does it in place
            return
        specification = importlib.util.spec_from_file_location("compile", Path(__file__).with_name("compile.py"))
        assert specification is not None and specification.loader is not None
        compiler = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(compiler)
        self._folder = tempfile.TemporaryDirectory()
        built = Path(self._folder.name)
        for path in compiler.build(built / "c", built / "lib"):
            build_data["force_include"][str(path)] = str(path.relative_to(built / "lib"))
        # What mypyc writes refuses a librt that is older than its own.
        build_data["dependencies"] = [f"librt>={importlib.metadata.version('librt')}"]
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if version != "editable":
            self._folder.cleanup()
