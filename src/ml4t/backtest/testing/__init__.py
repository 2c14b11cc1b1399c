"""The exams: what a broker or a feed of your own must pass, and markets with known answers.

`contracts.py` holds the exams, base classes whose tests pytest collects; `gateways.py` and
`live_feeds.py` those of what runs live, `drivers.py` and `venues.py` what they need; `markets.py`
makes small markets about which something is known beforehand. May import everything but `demo`
and `cli`; nothing in the package imports it. Start with `contracts.py`.
"""
