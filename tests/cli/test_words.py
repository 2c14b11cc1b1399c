"""Words of a command line, brought into the form that the parser knows."""

from __future__ import annotations

import pytest

from ml4t.backtest.cli.arguments import spread


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("s.py --data a b", "s.py --data a --data b"),
        ("--data a b s.py:C --set x=1 y=2", "--data a --data b s.py:C --set x=1 --set y=2"),
        ("-d a b -s c d", "-d a -d b -s c -s d"),
        ("--name a b", "--name a b"),
        ("--save", "--save ml4t-runs"),
        ("--save --name x", "--save ml4t-runs --name x"),
        ("--save s.py", "--save ml4t-runs s.py"),
        ("--save s.py:C", "--save ml4t-runs s.py:C"),
        ("--save there s.py", "--save there s.py"),
        ("--data a -- b c", "--data a -- b c"),
        ("--data=a b", "--data=a b"),
    ],
)
def test_words_are_spread(given: str, wanted: str) -> None:
    """Options with many values are repeated; `--save` gets its store."""
    assert spread(given.split()) == wanted.split()
