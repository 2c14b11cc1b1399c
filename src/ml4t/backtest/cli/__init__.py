"""The command line: `ml4t-backtest`, and `python -m ml4t.backtest`."""
