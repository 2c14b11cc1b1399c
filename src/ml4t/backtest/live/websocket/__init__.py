"""Bars and predictions from any server that speaks a small schema over a WebSocket.

`words.py` holds the messages, `docs/websocket-schema.md` explains them; start with `feed.py`.
"""
