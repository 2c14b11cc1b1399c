"""The vault: the one owner of cash and positions.

May import `types` and `errors`. Start with `portfolio.py`; `valuation.py` holds the sums that
must come out the same to the bit wherever they are taken.
"""
