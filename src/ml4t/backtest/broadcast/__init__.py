"""A server of the WebSocket schema: recorded bars at any speed, and predictions from anywhere.

`server.py` holds the server, `hub.py` who has subscribed to what, `relay.py` the conversation with
one client, `playback.py` the recording. May import what it plays (`rehearsal`) and the schema
(`live`). Start with `server.py`.
"""
