"""Compiles the kernels when the package is built; without a compiler it stays plain Python."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext
from setuptools.errors import CCompilerError, ExecError, PlatformError

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOM = Path("src/ml4t/backtest/kernels")
MODULE = "ml4t.backtest.kernels._compiled"
# Without it a compiler may join a multiplication and an addition, and round once instead of twice.
_NO_JOINING = "-ffp-contract=off"


class Kernels(BuildHookInterface[Any]):
    """Adds the compiled kernels to a wheel; for an editable install, puts them at their sources.

    With `ML4T_BACKTEST_PURE` in the environment nothing is compiled.
    """

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before the files of the wheel are collected."""
        room = Path(self.root) / ROOM
        if version == "editable":
            for old in _compiled_in(room):
                old.unlink()
        if os.environ.get("ML4T_BACKTEST_PURE"):
            return
        self._folder = tempfile.TemporaryDirectory(prefix="kernels-")
        try:
            built = _compile(room, Path(self._folder.name))
        except (CCompilerError, ExecError, PlatformError, OSError) as error:
            self.app.display_warning(
                f"The kernels were not compiled ({error}); the package works without, slower."
            )
            return
        if version == "editable":
            shutil.copy2(built, room)
            return
        build_data["force_include"][str(built)] = (
            f"{ROOM.relative_to('src').as_posix()}/{built.name}"
        )
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


def _compiled_in(room: Path) -> Iterator[Path]:
    for suffix in ("so", "pyd"):
        yield from room.glob(f"_compiled*.{suffix}")


def _compile(room: Path, target: Path) -> Path:
    """The compiled module, somewhere below `target`."""
    sources = [str(path) for path in sorted(room.glob("*.c"))]
    module = Extension(MODULE, sources, include_dirs=[np.get_include()])
    if os.name == "posix":
        module.extra_compile_args = [_NO_JOINING, "-g0"]
    command = build_ext(Distribution({"name": "kernels", "ext_modules": [module]}))
    command.build_lib, command.build_temp = str(target / "lib"), str(target / "temp")
    command.ensure_finalized()
    command.run()
    return Path(command.get_ext_fullpath(MODULE))
