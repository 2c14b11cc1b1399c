"""How many examples a slow property test tries."""

from __future__ import annotations

from hypothesis import settings

_EVERYDAY = 100


def examples(n: int) -> settings:
    """`n` examples for a test that runs an engine in each; the `deep` profile keeps its own."""
    by_profile = settings().max_examples
    return settings(max_examples=n if by_profile <= _EVERYDAY else by_profile)
