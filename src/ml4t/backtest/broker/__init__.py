"""The counter: what every broker is, and the book of a run's orders.

May import `types` and `errors`. `broker.py` is the contract, `blotter.py` keeps every order and
its legal transitions, `basket.py` carries many market orders of one decision as columns.
"""
