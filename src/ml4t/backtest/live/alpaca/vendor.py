"""What is taken from alpaca-py, in one place. Imported where it is needed: it is an extra."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    # The client uses the older half of websockets, and the newer half says so.
    warnings.simplefilter("ignore", DeprecationWarning)
    from alpaca.common.exceptions import APIError
    from alpaca.data.enums import Adjustment, DataFeed
    from alpaca.data.historical import CryptoHistoricalDataClient, StockHistoricalDataClient
    from alpaca.data.live import CryptoDataStream, StockDataStream
    from alpaca.data.live.websocket import DataStream
    from alpaca.data.requests import CryptoBarsRequest, StockBarsRequest
    from alpaca.data.timeframe import TimeFrame
    from websockets.exceptions import WebSocketException

__all__ = [
    "APIError",
    "Adjustment",
    "CryptoBarsRequest",
    "CryptoDataStream",
    "CryptoHistoricalDataClient",
    "DataFeed",
    "DataStream",
    "StockBarsRequest",
    "StockDataStream",
    "StockHistoricalDataClient",
    "TimeFrame",
    "WebSocketException",
]
