"""The gateways of the package sit the exam that is published for those of others.

Each on the vendor's own client, unmodified, against the rehearsal of its protocol.
"""

from __future__ import annotations

from ml4t.backtest.testing.gateways import GatewayContract, VenueDriver
from tests.contracts.rehearsals import AlpacaDriver, IBDriver


class TestAlpacaGateway(GatewayContract):
    """By alpaca-py."""

    def make_venue(self) -> VenueDriver:
        return AlpacaDriver()


class TestIBGateway(GatewayContract):
    """By ib_async."""

    def make_venue(self) -> VenueDriver:
        return IBDriver()
