"""World two: the same engine and strategies on live data, with a real broker.

Sockets and requests live in feeds and brokers, on threads of their own; everything they receive
goes through one inbox to the one thread on which a strategy runs.
"""
