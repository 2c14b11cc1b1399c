"""A venue to rehearse on: recorded bars behind a broker's own protocol (extra `rehearse`).

`venue.py` is the exchange: orders, fills, account and time, without a socket. It drives the
simulation bar by bar, so that a rehearsed day equals its backtest. `faults.py` says what goes
wrong and when. `alpaca.py`, `alpaca_data.py` and `streams.py` speak Alpaca's REST and stream
dialects, `server.py` starts and stops them on the loopback. May import everything below the
engine; never `live`: a venue is rehearsed over the wire. Start reading at `venue.py`.
"""
