"""The limits: what a strategy may open, and when it has to stop. The same in both worlds.

May import `broker`, `portfolio`, `types` and `errors`. `limits.py` holds the numbers a user sets,
`guard.py` stands between desk and broker for one run; `exposure.py` and `losses.py` are what it
looks at.
"""
