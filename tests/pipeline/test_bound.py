"""The bound of an installation's accuracy: against the Fisher information by finite differences, and known limits."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from models.physics.geometry import Scenario
from pipeline.bound import __main__ as bound
from pipeline.bound.bounding import bound_table, operators, single_source_bound
from pipeline.bound.options import BoundOptions
from tests.references.steering import steering_vector
from tfds_shards.simulator import CONFIGS

CONFIG = CONFIGS["l64_m64"]


@pytest.fixture(scope="module")
def drawn() -> list[np.ndarray]:
    """Measurement operators of two scenes, [L, M, N]."""
    return list(operators(CONFIG, 2))


def bound_by_differences(operator: np.ndarray, place: tuple[float, float, float], snr_db: float) -> np.ndarray:
    """Inverse of F_ij = sum_l tr(S_l^-1 dS_l/dx_i S_l^-1 dS_l/dx_j), mapped to positions: [3, 3], m^2."""
    array = CONFIG.scenario.array

    def received(azimuth: float, elevation: float, range_m: float, log_power: float) -> np.ndarray:
        return math.exp(log_power / 2) * operator @ steering_vector(azimuth, elevation, range_m, array)

    noise = np.mean(np.abs(received(*place, 0.0)) ** 2) / 10.0 ** (snr_db / 10.0)

    def covariances(values: np.ndarray) -> np.ndarray:
        signal = received(*values)
        return signal[:, :, None] * signal.conj()[:, None] + noise * np.eye(operator.shape[1])

    start, step = np.array([*place, 0.0]), 1e-5
    slopes = [(covariances(start + step * unit) - covariances(start - step * unit)) / (2 * step) for unit in np.eye(4)]
    scaled = [np.linalg.solve(covariances(start), slope) for slope in slopes]
    fisher = [[np.einsum("lij,lji->", one, other).real for other in scaled] for one in scaled]

    def position(azimuth: float, elevation: float, range_m: float) -> np.ndarray:
        flat = range_m * math.cos(elevation)
        return np.array([flat * math.cos(azimuth), flat * math.sin(azimuth), range_m * math.sin(elevation)])

    jacobian = np.stack(
        [
            (position(*(np.array(place) + 1e-6 * unit)) - position(*(np.array(place) - 1e-6 * unit))) / 2e-6
            for unit in np.eye(3)
        ],
        axis=1,
    )
    return jacobian @ np.linalg.inv(fisher)[:3, :3] @ jacobian.T


@pytest.mark.parametrize(("place", "snr_db"), [((0.3, -0.2, 1.2), 10.0), ((-0.7, 0.1, 3.0), 0.0)])
def test_it_is_the_inverse_fisher_information(drawn: list[np.ndarray], place, snr_db: float) -> None:
    azimuth, elevation, range_m = place
    found = single_source_bound(drawn[0], np.array([azimuth, elevation, 1 / range_m]), snr_db, CONFIG.scenario.array)
    np.testing.assert_allclose(found, bound_by_differences(drawn[0], place, snr_db), rtol=2e-3, atol=1e-9)


def test_errors_fall_with_the_root_of_the_snr_and_grow_with_range(drawn: list[np.ndarray]) -> None:
    options = BoundOptions(snr_db=(20.0, 30.0), azimuth_deg=20.0)
    rows = {(row.range_m, row.snr_db): row for row in bound_table(Scenario(), drawn, options, (4.0, 8.0, 16.0))}
    assert rows[4.0, 20.0].error_m / rows[4.0, 30.0].error_m == pytest.approx(math.sqrt(10.0), rel=0.02)
    for near, far in ((4.0, 8.0), (8.0, 16.0)):
        assert (
            3.5 < rows[far, 30.0].along_m / rows[near, 30.0].along_m < 5.0
        )  # curvature of the wavefront: range squared
        assert 1.8 < rows[far, 30.0].across_m / rows[near, 30.0].across_m < 2.2


@pytest.mark.stage("bound")
@pytest.mark.promise("bound")
def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    output = tmp_path / "bound.csv"
    options = ["--draws", "1", "--range-m", "1", "2", "--snr-db", "10", "--output", output, "--log-dir", tmp_path]
    monkeypatch.setattr("sys.argv", ["bound", *map(str, options)])
    bound.main()
    said = capsys.readouterr().out
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["range_m"]) for row in rows] == [1.0, 2.0]
    assert all(f"{float(row['error_m']):.4f}" in said for row in rows)
    assert (tmp_path / "bound.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--draws", 0), "--draws: expected 1 or more, got 0"),
        (("--range-m", 0), "--range-m[0]: expected a positive number, got 0"),
        (("--azimuth-deg", 90), "--azimuth-deg: expected a number in (-90, 90), got 90"),
        (("--output", "bound.txt"), "--output: expected a name that ends with .csv, got bound.txt"),
    ],
)
def test_bad_options_are_one_line(refused, options: tuple[object, ...], line: str) -> None:
    assert refused("bound", *options).startswith(line)
