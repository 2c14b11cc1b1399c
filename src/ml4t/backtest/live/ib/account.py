"""The account, asked anew; on the loop alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml4t.backtest.errors import ConnectionLost
from ml4t.backtest.live.timing import MICROSECONDS
from ml4t.backtest.live.words import Standing

if TYPE_CHECKING:
    from ml4t.backtest.live.ib.contracts import Contracts
    from ml4t.backtest.live.ib.link import TwsLink

_TAGS = "TotalCashValue,BuyingPower"


async def standing(link: TwsLink, contracts: Contracts, account: str) -> Standing:
    """The account, asked anew."""
    ib = link.ib
    positions = await link.answer(ib.reqPositionsAsync())
    values = await _values(link, account)
    at = await link.now()
    held, prices = {}, {}
    for one in positions:
        if one.account == account and one.position:
            held[contracts.asset_of(one.contract)] = float(one.position)
    for item in ib.portfolio(account):
        prices[contracts.asset_of(item.contract)] = float(item.marketPrice)
    for one in positions:
        asset_id = contracts.asset_of(one.contract)
        cost = one.avgCost / float(one.contract.multiplier or 1.0)
        prices.setdefault(asset_id, cost)
    if "TotalCashValue" not in values:
        raise ConnectionLost(f"Interactive Brokers told no cash of account {account!r}.")
    return Standing(
        account,
        values["TotalCashValue"],
        values.get("BuyingPower", values["TotalCashValue"]),
        held,
        prices,
        int(at.timestamp()) * MICROSECONDS,
    )


async def _values(link: TwsLink, account: str) -> dict[str, float]:
    """Cash and buying power now; what the client has kept may be minutes old."""
    client, wrapper = link.client, link.wrapper
    request = client.getReqId()
    wrapper.acctSummary.clear()
    future = wrapper.startReq(request)
    client.reqAccountSummary(request, "All", _TAGS)
    try:
        await link.answer(future)
    finally:
        client.cancelAccountSummary(request)
    found = wrapper.acctSummary.values()
    return {one.tag: float(one.value) for one in found if one.account == account}
