"""Alpaca: stocks and crypto, on the vendor's client alpaca-py (extra `alpaca`).

The client is kept as it is; what it does not do (deadlines, words for refusals, breaks told to
anybody) is done around it. Start reading at `feed.py`.
"""
