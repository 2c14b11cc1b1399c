"""How much of a difference between two floats means nothing."""

from __future__ import annotations

# A quotient that should be whole may miss it by a few units in the last place; without this
# allowance 100 shares asked for as a value could become 99.
WHOLE = 1e-11
# What float noise may leave of a quantity that was filled, or closed, in parts, relative to it.
DUST = 1e-12
