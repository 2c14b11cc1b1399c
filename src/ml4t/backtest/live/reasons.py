"""Why orders of a live session came or ended, where it was not the strategy or the broker."""

SCALED = "scaled: buying power"
ADOPTED = "adopted"
CLEARED = "cleared by the operator"
FEE = "fee"
NEVER = "it never reached the broker"
RESERVED = "other exits at the broker did not free the units it would have closed"
