"""The packaged example: real prices, a real model, one honest backtest.

`python -m ml4t.backtest.demo` runs it. `strategy.py` is meant to be copied; `forecast.py` shows
how to make predictions that know only the past; `verdict.py` says whether they were worth
anything. Imports what a user imports: the public names of the package.
"""
