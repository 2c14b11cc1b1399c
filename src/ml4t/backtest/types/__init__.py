"""The words: plain data that travels between the rooms.

Instruments, bars, orders, fills, positions. No I/O, no behaviour beyond derived figures.
May import `errors` only. Start with `order.py`; `bars.py` explains how columns and events relate.
"""
