"""The vendors' feeds of the package sit the exam that is published for those of others.

`WebSocketFeed` sits it beside the exam's own tests.
"""

from __future__ import annotations

from collections.abc import Sequence

from ml4t.backtest.testing.live_feeds import FeedDriver, LiveFeedContract
from tests.contracts.vendors import AlpacaVendor, IBVendor


class TestAlpacaStreamFeed(LiveFeedContract):
    """By alpaca-py."""

    def make_vendor(self, symbols: Sequence[str], *, grace_seconds: float) -> FeedDriver:
        return AlpacaVendor(symbols, grace_seconds)


class TestIBStreamFeed(LiveFeedContract):
    """By ib_async, from pieces of five seconds."""

    corrects = False
    source = "live"

    def make_vendor(self, symbols: Sequence[str], *, grace_seconds: float) -> FeedDriver:
        return IBVendor(symbols, grace_seconds, self.source)


class TestIBStreamFeedOfKeptMinutes(TestIBStreamFeed):
    """By ib_async, from minutes that TWS keeps up to date."""

    source = "kept"
