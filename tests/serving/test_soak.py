"""Short versions of the tests in `tests.rigs.soak`, without their checks of memory and of calls in flight."""

from pathlib import Path

import pytest

from tests.rigs.soak.ends import ends_under_load
from tests.rigs.soak.hostile import be_hostile
from tests.rigs.soak.pushes import push_versions, roll_back_and_forth


@pytest.mark.extended
def test_versions_pushed_under_load(tmp_path: Path) -> None:
    report = push_versions(tmp_path, versions=2, clients=4, requests=400)
    assert (report.mixed, report.failures) == (0, [])
    assert set(report.answers) == {1, 2, 3}
    assert report.answers.total() >= 400


@pytest.mark.extended
def test_versions_rolled_back_under_load(tmp_path: Path) -> None:
    report = roll_back_and_forth(tmp_path, times=1, clients=4)
    assert (report.mixed, report.failures) == (0, [])
    assert set(report.answers) == {1, 2}


@pytest.mark.extended
def test_hostile_requests(tmp_path: Path) -> None:
    report = be_hostile(tmp_path, requests=400)
    assert report.wrong == []
    assert len(report.statuses) >= 20  # every kind had its turn


@pytest.mark.extended
def test_stops_under_load_lose_no_call(tmp_path: Path) -> None:
    report = ends_under_load(tmp_path, clients=3, rest_clients=3, stops=5)
    assert report.lost == []
    assert report.ends == {"stopped well": 5}
