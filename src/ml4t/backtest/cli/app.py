"""The commands: their arguments, their help, and nothing else.

What a command needs is imported when it runs: help and completion answer in no time.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ml4t.backtest._version import __version__
from ml4t.backtest.cli import failures, live
from ml4t.backtest.cli.arguments import STORE, RunCommand
from ml4t.backtest.cli.options import (
    Config,
    Data,
    Json,
    ReportFile,
    Run,
    Runs,
    Sets,
    Signals,
    Store,
    Traceback,
)
from ml4t.backtest.cli.screen import say

_SETTINGS = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="ml4t-backtest",
    help="Backtests of trading on model predictions, made to be checked.",
    epilog="Exit codes: 0 fine, 1 your strategy failed, 2 wrong usage or input, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings=_SETTINGS,
)
runs_app = typer.Typer(
    help="The runs that were kept: list, show, remove.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=_SETTINGS,
)
app.add_typer(runs_app, name="runs")
app.add_typer(live.app, name="live")


def _version(wanted: bool) -> None:  # noqa: FBT001  typer calls it so
    if wanted:
        from ml4t.backtest.kernels import is_compiled

        kernels = "compiled kernels" if is_compiled else "plain Python"
        say(f"ml4t-backtest {__version__} ({kernels})")
        raise typer.Exit


@app.callback()
def _main(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    pass


@app.command(
    cls=RunCommand,
    epilog="Examples:\n\n"
    "ml4t-backtest run strategy.py --data prices.parquet\n\n"
    "ml4t-backtest run strategy.py:Momentum --data prices/*.csv --signals predictions.parquet "
    "--set commission.kind=percent --set commission.rate=0.0005 --save\n\n"
    "ml4t-backtest run --config run.toml --set strategy.hurdle=0.01 --name 'higher hurdle'",
)
def run(
    *,
    strategy: Annotated[
        str | None,
        typer.Argument(
            metavar="STRATEGY.py[:CLASS]",
            help="Your Python file, and the class in it if it defines several.",
            show_default=False,
        ),
    ] = None,
    data: Data = None,
    signals: Signals = None,
    context: Annotated[
        Path | None, typer.Option("--context", metavar="PATH", help="Market-wide series.")
    ] = None,
    actions: Annotated[
        Path | None, typer.Option("--actions", metavar="PATH", help="Splits, dividends and so on.")
    ] = None,
    config: Config = None,
    sets: Sets = None,
    save: Annotated[
        str | None,
        typer.Option(
            "--save",
            metavar="[FOLDER]",
            help=f"Keep the run, also a failed one, in a store; {STORE} without a folder.",
            show_default=False,
        ),
    ] = None,
    report: ReportFile = None,
    name: Annotated[str | None, typer.Option("--name", help="What to call the run.")] = None,
    family: Annotated[
        str | None, typer.Option("--family", help="What its trials are counted by.")
    ] = None,
    traceback: Traceback = False,
) -> None:
    """Run a strategy over data and print what came out.

    The run is described by options, by a file, or by both; options win, and --set wins over all.
    """
    from ml4t.backtest.cli import running
    from ml4t.backtest.cli.describing import described

    with failures.answered(full=traceback):
        description = described(
            config,
            strategy=strategy,
            data=data or (),
            signals=signals or (),
            tables={
                "context": {"path": _typed(context)},
                "actions": {"path": _typed(actions)},
                "output": {
                    "save": save,
                    "report": _typed(report),
                    "name": name,
                    "family": family,
                },
            },
            sets=sets or (),
        )
    running.run(description, full=traceback)


@app.command()
def demo(
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="Where the result goes.")
    ] = Path("ml4t-demo-result"),
) -> None:
    """Run the packaged example: prices, a model, predictions, a backtest, a verdict."""
    from ml4t.backtest.demo.__main__ import main as run_demo

    with failures.answered():
        raise typer.Exit(run_demo(["--out", str(out)]))


@app.command(
    epilog="Example:\n\nml4t-backtest compare Momentum-1a2b Momentum-9f8e 'higher hurdle'",
)
def compare(*, runs: Runs, store: Store = STORE, report: ReportFile = None) -> None:
    """Put runs side by side: the settings in which they differ, and their figures."""
    from ml4t.backtest.cli import reporting, showing

    with failures.answered():
        if report is not None:
            reporting.check(report)
        found = showing.compare(runs, store=store)
        if report is not None:
            reporting.report_comparison(found, report)


@app.command(epilog="Example:\n\nml4t-backtest report Momentum-1a2b -o momentum.html")
def report(
    *,
    run: Run,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write it.")
    ] = Path("report.html"),
    benchmark: Annotated[
        str | None,
        typer.Option(
            "--benchmark",
            metavar="WHAT",
            help="What to compare with: an asset of the run, equal_weight, or another run.",
        ),
    ] = None,
    title: Annotated[str | None, typer.Option("--title", help="The heading.")] = None,
    store: Store = STORE,
) -> None:
    """Write a run that was kept as one HTML page that needs no network."""
    from ml4t.backtest.cli import reporting

    with failures.answered():
        reporting.report(run, output, store=store, benchmark=benchmark, title=title)


@app.command(epilog="Example:\n\nml4t-backtest explain Momentum-1a2b AAPL 2024-03-05")
def explain(
    *,
    run: Run,
    asset: Annotated[str, typer.Argument(metavar="ASSET", help="An asset of the run.")],
    time: Annotated[
        str, typer.Argument(metavar="TIME", help="A date, or a time in ISO form; quote spaces.")
    ],
    store: Store = STORE,
) -> None:
    """Tell what was ordered and filled for an asset at a time, or why nothing was."""
    from ml4t.backtest.cli import showing

    with failures.answered():
        showing.explain(run, asset, time, store=store)


@app.command(
    cls=RunCommand,
    epilog="Exit codes: 0 fit for a run, 1 with warnings and --strict, 2 refused.\n\n"
    "Example:\n\nml4t-backtest check prices.parquet --signals predictions.parquet --strict",
)
def check(
    *,
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATA...", help="Prices: Parquet or CSV, or a folder.", show_default=False
        ),
    ] = None,
    signals: Signals = None,
    config: Config = None,
    sets: Sets = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings give exit code 1.")] = False,
    as_json: Json = False,
) -> None:
    """Read data as a run would, and say whether it is fit for one and what looks odd.

    Rows, assets, span, frequency, coverage, gaps, outliers, zero volumes, jumps that look like
    splits, and which column is taken as what.
    """
    from ml4t.backtest.cli import checking
    from ml4t.backtest.cli.describing import described

    with failures.answered():
        description = described(config, data=paths or (), signals=signals or (), sets=sets or ())
        raise typer.Exit(checking.check(description, strict=strict, as_json=as_json))


@app.command()
def init(
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")] = Path(
        "run.toml"
    ),
    force: Annotated[bool, typer.Option("--force", help="Write over what is there.")] = False,
) -> None:
    """Write a run.toml in which every field is explained."""
    from ml4t.backtest.cli import starting

    with failures.answered():
        starting.init(file, force=force)


@app.command(
    cls=RunCommand,
    epilog="Faults: `--fault list` says which there are.\n\n"
    "Examples:\n\n"
    "ml4t-backtest rehearse --data day.parquet --speed 600 --cash 50000\n\n"
    "ml4t-backtest rehearse --config run.toml --fault drop-trades:after=3 "
    "--fault 504-after:call=submit,every=5",
)
def rehearse(
    *,
    data: Data = None,
    config: Config = None,
    sets: Sets = None,
    cash: Annotated[
        float | None, typer.Option("--cash", help="Money in the account.", show_default=False)
    ] = None,
    calendar: Annotated[
        str | None,
        typer.Option("--calendar", help="Trading hours, such as XNYS; always open without one."),
    ] = None,
    crypto: Annotated[
        list[str] | None,
        typer.Option("--crypto", metavar="ASSET", help="A coin; those with a slash are anyway."),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option("--fault", metavar="NAME[:OPTION=VALUE,...]", help="What goes wrong."),
    ] = None,
    speed: Annotated[
        float, typer.Option("--speed", help="How much faster than in the market time goes.")
    ] = 60.0,
    step: Annotated[
        bool, typer.Option("--step", help="Wait for steps instead: POST /rehearsal/step.")
    ] = False,
    protocol: Annotated[
        str, typer.Option("--protocol", help="Whose: alpaca, or ib (Interactive Brokers).")
    ] = "alpaca",
    port: Annotated[int, typer.Option("--port", help="Where to listen; 0 takes a free one.")] = 0,
    exit_at_end: Annotated[
        bool, typer.Option("--exit-at-end", help="Stop when all bars have been played.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Play recorded bars as a broker that speaks its protocol, on this machine alone.

    Orders that clients send trade in the bars as they would in a backtest. Ctrl-C ends it.
    """
    from ml4t.backtest.cli import rehearsing
    from ml4t.backtest.cli.describing import described

    with failures.answered():
        if fault == ["list"]:
            rehearsing.list_faults()
            return
        tables: dict[str, dict[str, Any]] = {
            "broker": {"initial_cash": cash},
            "data": {"calendar": calendar},
        }
        description = described(config, data=data or (), tables=tables, sets=sets or ())
        rehearsing.rehearse(
            description,
            crypto=crypto or (),
            faults=fault or (),
            speed=None if step else speed,
            port=port,
            exit_at_end=exit_at_end,
            as_json=as_json,
            protocol=protocol,
        )


@app.command(
    cls=RunCommand,
    epilog="Examples:\n\n"
    "ml4t-backtest serve day.parquet --speed 60 --port 8765\n\n"
    "ml4t-backtest serve day.parquet --signals predictions.parquet --clients 2",
)
def serve(
    *,
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATA...", help="Prices: Parquet or CSV, or a folder.", show_default=False
        ),
    ] = None,
    signals: Signals = None,
    config: Config = None,
    sets: Sets = None,
    speed: Annotated[
        float, typer.Option("--speed", help="How much faster than in the market time goes.")
    ] = 60.0,
    port: Annotated[int, typer.Option("--port", help="Where to listen; 0 takes a free one.")] = 0,
    host: Annotated[str, typer.Option("--host", help="Likewise; others need a token.")] = (
        "127.0.0.1"
    ),
    token_file: Annotated[
        Path | None, typer.Option("--token-file", metavar="FILE", help="What clients must send.")
    ] = None,
    clients: Annotated[
        int, typer.Option("--clients", help="How many must have subscribed before time begins.")
    ] = 1,
    exit_at_end: Annotated[
        bool, typer.Option("--exit-at-end", help="Stop when all bars have been played.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Stream recorded bars and predictions over a WebSocket, and relay what models publish."""
    from ml4t.backtest.cli import serving
    from ml4t.backtest.cli.describing import described

    with failures.answered():
        description = described(config, data=paths or (), signals=signals or (), sets=sets or ())
        serving.serve(
            description,
            speed=speed,
            port=port,
            host=host,
            token_file=_typed(token_file),
            clients=clients,
            exit_at_end=exit_at_end,
            as_json=as_json,
        )


@runs_app.command("list")
def list_runs(
    *,
    store: Store = STORE,
    family: Annotated[str | None, typer.Option("--family", help="Runs of this one alone.")] = None,
    as_json: Json = False,
) -> None:
    """List the runs that were kept."""
    from ml4t.backtest.cli import showing

    with failures.answered():
        showing.list_runs(store=store, family=family, as_json=as_json)


@runs_app.command("show")
def show_run(*, run: Run, store: Store = STORE, as_json: Json = False) -> None:
    """Print the summary of a run, or all that is known of it as JSON."""
    from ml4t.backtest.cli import showing

    with failures.answered():
        showing.show_run(run, store=store, as_json=as_json)


@runs_app.command("remove")
def remove(*, runs: Runs, store: Store = STORE) -> None:
    """Delete runs; they still count as trials."""
    from ml4t.backtest.cli import showing

    with failures.answered():
        showing.remove(runs, store=store)


def _typed(path: Path | None) -> str | None:
    """A path as it was typed, relative to where it was typed."""
    return None if path is None else str(Path.cwd() / path.expanduser())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Those of the process by default.

    Returns:
        The exit code.
    """
    given: Any = None if arguments is None else list(arguments)
    try:
        app(args=given, prog_name="ml4t-backtest")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return failures.INTERRUPTED
    return failures.FINE
