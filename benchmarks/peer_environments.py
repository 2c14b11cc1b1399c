"""The environments of other engines, one for each, with the versions in `peers/requirements`.

They stand in the folder that `ML4T_BENCH_PEERS` names, else in `.venv/peers`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent


def interpreter(peer: str) -> Path:
    """Where the interpreter of a peer is, or would be."""
    default = HERE.parent / ".venv" / "peers"
    root = Path(os.environ.get("ML4T_BENCH_PEERS", default)).resolve()
    return root / peer / "bin" / "python"


def requirements(peer: str) -> Path:
    """The file with the versions of a peer."""
    return HERE / "peers" / "requirements" / f"{peer}.txt"


def environment(peer: str) -> Path | None:
    """The interpreter of a peer's environment; None if it cannot be made."""
    python, wanted = interpreter(peer), requirements(peer)
    folder = python.parent.parent
    stamp = folder / "installed.txt"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted.read_text(encoding="utf-8"):
        return python
    progress(f"installing {peer}")
    for command in installation(folder, python, wanted):
        if subprocess.run(command, check=False).returncode:
            return None
    shutil.copyfile(wanted, stamp)
    return python


def installation(folder: Path, python: Path, wanted: Path) -> Iterator[list[str]]:
    """The commands that make an environment, with uv where there is one."""
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv:
        yield [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)]
        yield [uv, "pip", "sync", "--quiet", "--python", str(python), str(wanted)]
    else:
        yield [sys.executable, "-m", "venv", "--clear", str(folder)]
        yield [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(wanted)]


def progress(text: str) -> None:
    """For the one who waits."""
    print(text, file=sys.stderr, flush=True)
