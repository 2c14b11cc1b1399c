"""What the tests of live trading share."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture(autouse=True)
def _loggers_that_log() -> None:
    """The linter of imports, which a test of the house calls, turns off every logger it finds."""
    for name, logger in logging.root.manager.loggerDict.items():
        if name.startswith("ml4t") and isinstance(logger, logging.Logger):
            logger.disabled = False
