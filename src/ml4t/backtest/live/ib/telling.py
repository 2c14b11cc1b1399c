"""The messages of the broker, told on as they came; what the vendor makes of them is beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ml4t.backtest.live.ib.vendor import Wrapper

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml4t.backtest.live.ib import vendor


class Listener(Protocol):
    """What is told every message, on the loop."""

    def open_order(self, contract: Any, order: Any, state: Any) -> None:
        """An open order."""

    def completed(self, contract: Any, order: Any, state: Any) -> None:
        """An order that is over."""

    def status(
        self, number: tuple[int, int], perm_id: int, word: str, filled: float, why_held: str
    ) -> None:
        """Where an order stands."""

    def execution(self, contract: Any, found: Any) -> None:
        """A fill."""

    def commission(self, report: Any) -> None:
        """What a fill cost."""


class Telling(Wrapper):
    """The vendor's state, with every message told on as it came."""

    listener: Listener
    on_error: Callable[[int, int, str], None]

    def openOrder(  # noqa: N802  the vendor's name
        self,
        orderId: int,
        contract: vendor.Contract,
        order: vendor.Order,
        orderState: vendor.OrderState,
    ) -> None:
        """An open order, with all that it asks."""
        super().openOrder(orderId, contract, order, orderState)
        self.listener.open_order(contract, order, orderState)

    def completedOrder(  # noqa: N802
        self, contract: vendor.Contract, order: vendor.Order, orderState: vendor.OrderState
    ) -> None:
        """An order that is over."""
        super().completedOrder(contract, order, orderState)
        self.listener.completed(contract, order, orderState)

    def orderStatus(  # noqa: N802, PLR0917
        self,
        orderId: int,
        status: str,
        filled: float,
        remaining: float,
        avgFillPrice: float,
        permId: int,
        parentId: int,
        lastFillPrice: float,
        clientId: int,
        whyHeld: str,
        mktCapPrice: float = 0.0,
    ) -> None:
        """Where an order stands."""
        # Not the vendor's: it keeps orders as objects, and we do not.
        self.listener.status((clientId, orderId), permId, status, filled, whyHeld)

    def execDetails(  # noqa: N802
        self, reqId: int, contract: vendor.Contract, execution: vendor.Execution
    ) -> None:
        """A fill."""
        super().execDetails(reqId, contract, execution)
        self.listener.execution(contract, execution)

    def commissionReport(self, commissionReport: vendor.CommissionReport) -> None:  # noqa: N802
        """What a fill cost."""
        super().commissionReport(commissionReport)
        self.listener.commission(commissionReport)

    def error(
        self, reqId: int, errorCode: int, errorString: str, advancedOrderRejectJson: str
    ) -> None:
        """An error or a notice."""
        super().error(reqId, errorCode, errorString, advancedOrderRejectJson)
        self.on_error(reqId, errorCode, errorString)


class Silent:
    """Listens to nothing."""

    def open_order(self, contract: Any, order: Any, state: Any) -> None:
        """An open order."""

    def completed(self, contract: Any, order: Any, state: Any) -> None:
        """An order that is over."""

    def status(
        self, number: tuple[int, int], perm_id: int, word: str, filled: float, why_held: str
    ) -> None:
        """Where an order stands."""

    def execution(self, contract: Any, found: Any) -> None:
        """A fill."""

    def commission(self, report: Any) -> None:
        """What a fill cost."""
