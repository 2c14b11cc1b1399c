"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

from ml4t.backtest.cli.arguments import STORE
from ml4t.backtest.errors import BacktestError


def _run_ids(incomplete: str) -> list[str]:
    """For completion: runs of the usual store."""
    from ml4t.backtest.results.runs import RunStore

    try:
        found = RunStore(STORE).frame()["run_id"].to_list()
    except BacktestError:
        return []
    return [name for name in found if name.startswith(incomplete)]


Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="A run.toml; `init` writes one."),
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set any field by its dotted name: broker.initial_cash=50000, strategy.hurdle=0.01.",
    ),
]
Data = Annotated[
    list[str] | None,
    typer.Option("--data", "-d", metavar="PATH...", help="Prices: Parquet or CSV, or a folder."),
]
Signals = Annotated[
    list[str] | None,
    typer.Option(
        "--signals", "-s", metavar="PATH...", help="Predictions: path, or name=path for several."
    ),
]
Store = Annotated[str, typer.Option("--store", metavar="FOLDER", help="The folder of the runs.")]
Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="An id, the beginning of one, a name, or the folder of a saved result.",
        autocompletion=_run_ids,
        show_default=False,
    ),
]
Runs = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN...",
        help="Ids, beginnings of ids, names, or folders of saved results.",
        autocompletion=_run_ids,
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ReportFile = Annotated[
    Path | None,
    typer.Option("--report", metavar="FILE", help="Also write one HTML page; needs extra `plot`."),
]
Traceback = Annotated[
    bool, typer.Option("--traceback", help="Show whole tracebacks, not your own frames alone.")
]
