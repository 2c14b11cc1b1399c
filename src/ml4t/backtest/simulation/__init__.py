"""World one: a broker that trades recorded bars.

`broker.py` composes the parts; `matching.py` says whether and at what price an order fills in a
bar, `batch.py` what a group of fills can afford. `commission.py`, `slippage.py` and `account.py`
are the parts a user can replace. May import `broker`, `portfolio`, `types`, `errors`.
"""
