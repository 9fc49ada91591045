"""A run killed at random moments ends as an undisturbed one; the whole of it is tests/rigs/run_kills.py."""

from pathlib import Path

import pytest

from tests.rigs.run_kills import torment


def test_a_run_killed_thrice_ends_as_if_undisturbed(tmp_path: Path) -> None:
    undisturbed, killed, times, faults = torment(tmp_path, kills=3, seed=3)
    assert times > 0
    assert killed.weights == undisturbed.weights
    assert killed.metrics == pytest.approx(undisturbed.metrics, abs=1e-6)
    assert faults == []
