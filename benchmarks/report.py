"""The sections of RESULTS.md: each program replaces its own and leaves the others alone."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

from ml4t.backtest.kernels import is_compiled

PATH = Path(__file__).with_name("RESULTS.md")
INTRO = """\
# Results

Each section says what wrote it; what the workloads and columns are stands in
[README.md](README.md). Only the ratios carry over to another machine.
"""
SECTIONS = ("Against bare Python", "Growth", "Peers")


def write_section(title, text):
    """Put `text` under the heading `title`, in the order of SECTIONS."""
    found = written()
    found[title] = text.strip()
    parts = [f"## {name}\n\n{found[name]}\n" for name in SECTIONS if name in found]
    part = PATH.with_suffix(".part")
    part.write_text("\n".join([INTRO, *parts]), encoding="utf-8")
    part.replace(PATH)  # at once: another program may be about to read it


def written():
    """The sections that stand in the file, by heading."""
    return split(PATH.read_text(encoding="utf-8"), "## ") if PATH.exists() else {}


def split(text, mark):
    """What stands under each heading that begins with `mark`."""
    _, *parts = re.split(f"^{mark}", text, flags=re.MULTILINE)
    return {title: body.strip() for title, _, body in (p.partition("\n") for p in parts)}


def markdown(columns, rows, words):
    """A table; the first `words` columns hold words, the others figures."""
    marks = ["---"] * words + ["--:"] * (len(columns) - words)
    lines = [f"| {' | '.join(columns)} |", f"|{'|'.join(marks)}|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def chart(title, axis, labels, unit, values):
    """A line over labels, as a Mermaid chart, which GitHub and editors draw."""
    ticks = ", ".join(f'"{label}"' for label in labels)
    return "\n".join(
        [
            "```mermaid",
            "xychart-beta",
            f'    title "{title}"',
            f'    x-axis "{axis}" [{ticks}]',
            f'    y-axis "{unit}" 0 --> {1.3 * max(values):.3g}',
            f"    line [{', '.join(f'{value:.3f}' for value in values)}]",
            "```",
        ]
    )


def about():
    """What our side was measured with."""
    versions = ", ".join(f"{p} {version(p)}" for p in ("numpy", "polars", "msgspec", "pyarrow"))
    kernels = "compiled kernels" if is_compiled else "plain Python, no compiled kernels"
    return (
        f"Python {platform.python_version()}, {versions}; {kernels}; {os.cpu_count()} cores "
        f"({processor()}), {platform.system()}"
    )


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()
