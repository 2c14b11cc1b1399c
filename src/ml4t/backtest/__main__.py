"""`python -m ml4t.backtest` and `ml4t-backtest`: the command line, or how to install it."""

from __future__ import annotations

import sys
from importlib.util import find_spec

_NEEDED = ("typer", "rich")


def main() -> int:
    """Run the command line.

    Returns:
        The exit status of the process: 2 when the extra `cli` is not installed.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"The command line needs {' and '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not installed. "
            "Install what it needs with: pip install 'ml4t-backtest[cli]'\n"
        )
        return 2
    from ml4t.backtest.cli.app import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
