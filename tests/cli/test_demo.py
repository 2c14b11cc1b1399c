"""The packaged example behind its command."""

from __future__ import annotations

from ml4t.backtest import BacktestResult
from tests.cli.conftest import Invoke


def test_the_demo_runs(invoke: Invoke) -> None:
    """Its result is left in the folder that was asked for."""
    import pytest

    pytest.importorskip("sklearn")
    found = invoke("demo", "--out", "result")
    assert found.exit_code == 0, found.output
    assert "PredictedReturns" in found.stdout
    assert BacktestResult.load("result").complete
