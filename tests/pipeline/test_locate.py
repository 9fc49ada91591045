"""`python -m pipeline.locate` end to end: new scenes, its own server, true and found sources."""

import itertools
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.locate import __main__ as locate
from serving.client.measurement import read_measurement
from tfds_shards.codebook import code_phasors
from tfds_shards.simulator import CONFIGS, simulate_scene

SCENES = 4
NUMBER = r"(-?\d+\.\d+)"


def run(monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    monkeypatch.setattr(sys, "argv", ["locate", *options])
    locate.main()


@pytest.mark.extended
def test_fresh_scenes_are_sent_and_shown(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "measurement.npz"
    options = ("--config", "l64_random_16_16_2", "--scenes", str(SCENES))
    logs = ("--log-dir", str(tmp_path / "logs"))
    run(monkeypatch, "--model-base-path", str(tiny_model), "--output", str(path), *options, *logs)
    out = capfd.readouterr().out
    (version,) = (folder.name for folder in tiny_model.iterdir())
    assert f"serving ris_localizer version {version} on port " in out
    headings = re.findall(rf"scene (\d): SNR {NUMBER} dB, (\d) sources, (\d) found, (\d) hits", out)
    blocks = re.split(r"scene \d: .*\n", out)[1:]
    assert len(headings) == len(blocks) == SCENES
    measurement = read_measurement(path)
    total = 0
    for number, (heading, block) in enumerate(zip(headings, blocks, strict=True)):
        # The scenes have indices beyond all stored splits, and are sent unchanged.
        scene = simulate_scene(CONFIGS["l64_random"], "test", 1_000_000 + number)
        np.testing.assert_array_equal(measurement.snapshots[number], scene.snapshots)
        np.testing.assert_array_equal(measurement.channel[number], scene.channel)
        np.testing.assert_allclose(measurement.ris_codes[number], code_phasors(scene.code_phase_index, 3), atol=1e-6)
        assert heading[:3] == (str(number), f"{scene.snr_db:.1f}", str(scene.num_sources))
        shown = {
            kind: np.array(re.findall(rf"{kind} +{NUMBER} deg +{NUMBER} deg +{NUMBER} m", block), float).reshape(-1, 3)
            for kind in ("true", "found")
        }
        used = slice(scene.num_sources)
        truth = np.degrees(scene.azimuth[used]), np.degrees(scene.elevation[used]), scene.range_m[used]
        np.testing.assert_allclose(shown["true"], np.transpose(truth), atol=0.0051)
        found, hits = int(heading[3]), int(heading[4])
        assert len(shown["found"]) == found
        assert hits <= most_hits(shown["true"], shown["found"])
        total += hits
    assert total > 0


def most_hits(true: np.ndarray, found: np.ndarray) -> int:
    """Largest number of one-to-one pairs within 5 deg, 5 deg and 1 m, by trying all assignments."""
    few, many = sorted((true, found), key=len)
    within = np.all(np.abs(few[:, None] - many[None]) <= [5.01, 5.01, 1.01], axis=-1)
    orders = itertools.permutations(range(len(many)), len(few))
    return max(sum(within[row, column] for row, column in enumerate(order)) for order in orders)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model-base-path", "nowhere"), "model server: expected it to load a version, got "),
        (("--model-base-path", ".", "--config", "l64_m65"), "config: expected one of"),
    ],
)
def test_refusals_are_one_line(tmp_path: Path, refused, options: tuple[str, ...], message: str) -> None:
    said = refused("locate", "--output", tmp_path / "m.npz", "--scenes", "1", *options)
    assert said.startswith(message)
