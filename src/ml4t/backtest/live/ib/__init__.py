"""Interactive Brokers: TWS or the Gateway, on the client ib_async (extra `ib`).

The client is kept as it is, on one loop in a thread of its own. What it makes of orders is not
relied on: the messages themselves are kept, by our names for orders and the broker's for fills.
Start reading at `gateway.py`.
"""
