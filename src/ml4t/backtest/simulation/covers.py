"""How much of a purchase that closes a short its account pays for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml4t.backtest.kernels.noise import DUST
from ml4t.backtest.simulation.fitting import NOISE, largest_fit

if TYPE_CHECKING:
    from ml4t.backtest.simulation.batch import BatchSettlement
    from ml4t.backtest.simulation.costs import Candidate


def payable(settlement: BatchSettlement, candidate: Candidate) -> float:
    """Units of the closing part of a purchase that the cash pays for, with its commission.

    Args:
        settlement: Knows the cash of the moment.
        candidate: A purchase that closes `candidate.exit` units.

    Returns:
        Those units, or as many as there is money for, in whole lots; all or none where entries
        are rejected whole.
    """
    free, wanted = settlement.account.cover_money(settlement.cash), candidate.exit
    cost = settlement.flow(candidate, wanted)
    if cost <= free + NOISE * cost:
        return wanted
    if settlement.funding == "reject":
        return 0.0
    lot = settlement.portfolio.lots[candidate.working.code]

    def need(quantities: np.ndarray) -> float:
        units = quantities.item()
        return settlement.flow(candidate, units) if units else 0.0

    units = float(largest_fit(need, np.array([wanted]), np.array([lot]), free).item())
    return units if units > DUST * wanted else 0.0
