"""What is taken from ib_async, in one place. Imported where it is needed: it is an extra."""

from __future__ import annotations

from ib_async import IB
from ib_async.client import Client
from ib_async.contract import Contract, ContractDetails
from ib_async.objects import BarData, CommissionReport, Execution, ExecutionFilter, RealTimeBar
from ib_async.order import Order, OrderState
from ib_async.util import UNSET_DOUBLE
from ib_async.wrapper import RequestError, Wrapper

__all__ = [
    "IB",
    "UNSET_DOUBLE",
    "BarData",
    "Client",
    "CommissionReport",
    "Contract",
    "ContractDetails",
    "Execution",
    "ExecutionFilter",
    "Order",
    "OrderState",
    "RealTimeBar",
    "RequestError",
    "Wrapper",
]
