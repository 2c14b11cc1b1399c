"""The door: what is known, and when.

Everything a run reads comes in here: prices, signals, context, calendars. Bad input stops here,
with the column, the first row and the remedy; what passes is columns of plain numbers, dated.
May import `types` and `errors`. Start with `feed.py` (the contract), then `block.py`.
"""
