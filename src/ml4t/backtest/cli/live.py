"""`live ...`: the commands for sessions that trade, as arguments and help."""

from pathlib import Path
from typing import Annotated

import typer

from ml4t.backtest.cli import failures
from ml4t.backtest.cli.options import Json

app = typer.Typer(
    help="Sessions that trade: how they stand, what happened, and the kill switch.",
    epilog="JOURNAL is the file that a session writes, by default ml4t-live/STRATEGY-MODE.journal; "
    "it may run, or be over. A word is for a session on this machine: it is left in a file beside "
    "the journal, and obeyed within about a second.\n\n"
    "Exit codes: 0 fine, 1 no session took the word, 2 wrong usage or a journal that cannot be "
    "read, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_JOURNAL = typer.Argument(
    metavar="[JOURNAL]",
    help="A session's journal, or a folder with some; the latest under ml4t-live without one.",
    show_default=False,
)
Found = Annotated[Path | None, _JOURNAL]
Given = Annotated[
    Path, typer.Argument(metavar="JOURNAL", help="The session's journal.", show_default=False)
]
Wait = Annotated[
    float,
    typer.Option("--wait", metavar="SECONDS", help="How long to wait until the session has it."),
]


@app.command(
    epilog="Exit codes: 0 it runs, or ended as it should; 1 it is halted, its process is gone, or "
    "it has been silent.\n\nExamples:\n\nml4t-backtest live status --watch\n\n"
    "ml4t-backtest live status ml4t-live/Momentum-paper.journal --json | jq .equity"
)
def status(
    *,
    journal: Found = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Refresh until Ctrl-C, or the session's end.")
    ] = False,
    every: Annotated[
        float, typer.Option("--every", metavar="SECONDS", help="Between two looks of --watch.")
    ] = 1.0,
    as_json: Json = False,
) -> None:
    """Show positions, orders, gain, health and the last notices of a session on one screen."""
    from ml4t.backtest.cli import standing

    with failures.answered():
        raise typer.Exit(standing.show(journal, watch=watch, every=every, as_json=as_json))


@app.command(
    epilog="Kinds: opening, session, bars, decisions, state, request, answer, cancel, change, "
    "lapse, cut, given_up, event (fills, changes of orders, the connection), adoption, fee, cash, "
    "clearance, halt, note, asked.\n\nExamples:\n\n"
    "ml4t-backtest live journal ml4t-live/Momentum-paper.journal --last 20\n\n"
    "ml4t-backtest live journal ml4t-live/Momentum-paper.journal --kind event --kind note -f"
)
def journal(
    *,
    journal: Given,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", "-k", metavar="KIND", help="Entries of this kind; repeatable."),
    ] = None,
    after: Annotated[
        int, typer.Option("--after", metavar="NUMBER", help="Entries behind this number.")
    ] = 0,
    last: Annotated[
        int | None,
        typer.Option("--last", "-n", metavar="N", min=1, help="The last N.", show_default=False),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is written, until Ctrl-C.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print what happened in a session: number, time (UTC), kind and what, a line each.

    Without --kind, bars, decisions and states are left out. With --json each line is an object.
    """
    from ml4t.backtest.cli import journals

    with failures.answered():
        journals.show(
            journal, kinds=kind or (), after=after, last=last, follow=follow, as_json=as_json
        )


def _tell(word: str, journal: Path, wait: float) -> None:
    from ml4t.backtest.cli import words

    with failures.answered():
        raise typer.Exit(words.tell(word, journal, wait=wait))


@app.command()
def halt(*, journal: Given, wait: Wait = 10.0) -> None:
    """Take no orders any more, and cancel those that would open positions.

    Exits stay. It lasts until `resume`, also when the session is started again.
    """
    _tell("halt", journal, wait)


@app.command()
def resume(*, journal: Given, wait: Wait = 10.0) -> None:
    """Take orders again after a halt.

    What the broker holds and the journal cannot explain keeps a session halted all the same.
    """
    _tell("resume", journal, wait)


@app.command()
def flatten(*, journal: Given, wait: Wait = 10.0) -> None:
    """Halt, cancel every order, and close every position at the market."""
    _tell("flatten", journal, wait)


@app.command()
def stop(*, journal: Given, wait: Wait = 10.0) -> None:
    """End the session after its present step; open orders are kept or not as it was told to."""
    _tell("stop", journal, wait)


@app.command()
def reconcile(*, journal: Given, wait: Wait = 10.0) -> None:
    """Compare with the broker now, rather than when the next comparison is due."""
    _tell("reconcile", journal, wait)
