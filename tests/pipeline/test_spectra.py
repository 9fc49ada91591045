"""Evaluation stores spectra with --spectra, and the report draws them with the sources."""

import logging
from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluate.options import EvaluateOptions
from pipeline.evaluate.runner import evaluate
from pipeline.metrics.spectra import SPECTRA_FILE, load_spectra
from pipeline.report.builder import write_report
from pipeline.report.options import ReportOptions
from tests.conftest import SCENE_SETS
from tests.pipeline.test_report import MOST_BYTES, Page

LOGGER = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, tiny_scenes: Path) -> Path:
    """An evaluation of two scenes with their spectra."""
    output = tmp_path_factory.mktemp("evaluation")
    options = EvaluateOptions(
        output, tiny_model, data_dir=tiny_scenes, config=SCENE_SETS[1], scenes=2, spectra=4, bounds=False, figures=False
    )
    evaluate(options, LOGGER)
    return output


@pytest.mark.extended
def test_as_many_are_kept_as_there_are_scenes(folder: Path) -> None:
    spectra = load_spectra(folder / SPECTRA_FILE)
    axes = (spectra.azimuth_deg, spectra.elevation_deg, spectra.range_m)
    assert spectra.spectrum_db.shape == (2, *(axis.size for axis in axes))
    assert spectra.spectrum_db.min() == 0.0 and spectra.spectrum_db.max() > 3.0
    assert (folder / SPECTRA_FILE).stat().st_size < 500_000
    assert np.abs(axes[0]).max() <= 60.0 and np.abs(axes[1]).max() <= 30.0
    assert 0.4 < axes[2].min() < 1.0 < axes[2].max() < 12.0


@pytest.mark.extended
def test_the_report_draws_them_with_truth_and_estimates(folder: Path) -> None:
    page = Page(write_report(ReportOptions(folder, scenes=1), LOGGER))
    names = {f"spectrum-{scene}-{over}" for scene in (0, 1) for over in ("elevation", "range")}
    assert names == {name for name in page.drawings if name.startswith("spectrum-")}
    with np.load(folder / "scenes.npz") as stored:
        truth = dict(stored)
    spectra = load_spectra(folder / SPECTRA_FILE)
    for name in names:
        scene, (field, true, _) = int(name.split("-")[1]), page.drawings[name]["data"]
        assert page.names(name) == ["spectrum", "true source", "estimate"]
        count = truth["true_num_sources"][scene]
        np.testing.assert_allclose(true["x"], np.degrees(truth["true_azimuth"][scene, :count]), rtol=1e-3)
        height = spectra.spectrum_db[scene].max(axis=1 if name.endswith("range") else 2).T
        np.testing.assert_allclose(field["z"], height, atol=0.06)
        y = 1.0 / spectra.range_m if name.endswith("range") else spectra.elevation_deg
        np.testing.assert_allclose(field["y"], y, rtol=1e-3, atol=1e-3)
    assert len(page.text.encode()) < MOST_BYTES


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"spectra.npz: expected an evaluation's file"):
        load_spectra(tmp_path / SPECTRA_FILE)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--oracle", "--spectra", "2"), "--spectra: needs --saved-model, got 2 without it"),
        (("--saved-model", "m", "--spectra", "9"), "--spectra: expected 0 to 8, got 9"),
    ],
)
def test_options_that_cannot_be_are_refused(arguments: tuple[str, ...], said: str, tmp_path: Path, refused) -> None:
    assert refused("evaluate", "--output-dir", tmp_path / "out", *arguments).startswith(said)
