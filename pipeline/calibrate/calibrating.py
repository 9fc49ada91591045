"""Library functions of `python -m pipeline.calibrate`: calibrate, update and check a calibration."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from pipeline.calibrate.anchors import NO_ANCHORS, Anchors
from pipeline.calibrate.channel import ChannelFit, static_channel
from pipeline.calibrate.drift import DriftVerdict, drift_test
from pipeline.calibrate.files import StoredCalibration
from pipeline.calibrate.fitting import Fit, FitResult, FitState
from pipeline.calibrate.learning_curve import LearningCurve, learning_curve
from pipeline.calibrate.options import DriftConfig, Settings
from pipeline.calibrate.scenes import SceneFiles, SceneModel, Sources
from pipeline.calibrate.solution import as_real, dead_elements, normalized, solve, without_dead
from pipeline.calibrate.sums import Sums, no_scenes
from serving.client.calibration import Calibration

_CHANNEL_ROUNDS = 2

Progress = Callable[[str, int], Callable[[int], None]]


def _quiet(_name: str, _count: int) -> Callable[[int], None]:
    return lambda _done: None


@dataclasses.dataclass(frozen=True)
class CalibrationResult:
    """A calibration, the fit that produced it, and the learning curve of its scenes."""

    stored: StoredCalibration
    fitted: FitResult
    curve: LearningCurve


def _result(
    fitted: FitResult,
    past: Sums,
    settings: Settings,
    about: Mapping[str, Any] | None,
    channel: np.ndarray | None,
    correction: np.ndarray | None,
) -> CalibrationResult:
    """Takes the last step, tests the elements for dead ones, and moves the sums to the final response."""
    response = fitted.last.response
    sums = fitted.last.everything() + past
    solution = solve(sums, response, fitted.prior)
    at_one = dataclasses.replace(solution, response=normalized(solution.response))
    dead = dead_elements(at_one, settings.dead)
    final = without_dead(at_one, dead)
    curve = learning_curve(fitted.last.folds, response, solution.prior, dead)
    stored = StoredCalibration(
        element_response=final,
        element_response_std=solution.deviation,
        dead=dead,
        covariance=solution.covariance,
        sums=sums.moved(as_real(final - response)),
        prior=solution.prior,
        about=dict(about or {}),
        channel=channel,
        channel_correction=correction,
    )
    return CalibrationResult(stored, fitted, curve)


def calibrate(
    model: SceneModel,
    files: SceneFiles,
    settings: Settings = Settings(),
    *,
    anchors: Mapping[int, Anchors] | None = None,
    start: FitState | None = None,
    about: Mapping[str, Any] | None = None,
    progress: Progress = _quiet,
    keep: Callable[[FitState], None] = lambda _: None,
    channel: bool = False,
) -> CalibrationResult:
    """Estimates the element response of the installation that recorded the files.

    With `channel`, it also estimates a correction of the channel, which must be the same in all scenes, and alternates
    between g and the correction: a channel error that is equal for all antennas of an element cannot be told apart from
    an error of that element.

    Args:
      model, files: likelihood of the localizer, and the scenes.
      settings: settings of the search and the tests.
      anchors: known source positions, by scene number.
      start: an unfinished search to resume; None starts from a response of ones.
      about: provenance that is written to the file.
      progress, keep: see `Fit`.
    """
    state = start or FitState(np.ones(model.array.num_elements, np.complex128))
    nominal = correction = None

    def fit() -> Fit:
        return Fit(model, files, anchors or {}, settings.fit, state, progress=progress, keep=keep)

    if channel:
        nominal = static_channel(files)
        channel_fit = ChannelFit(model, files, nominal, settings.channel, progress)
        files, correction = dataclasses.replace(files, channel=nominal), np.zeros(nominal.shape, np.complex128)
        for _ in range(_CHANNEL_ROUNDS):
            search = fit()
            fitted = search.run()
            state = FitState(fitted.last.response, fitted.prior, on_all=True)
            correction = channel_fit.run(search.sources, fitted.last.response, correction)
            files = dataclasses.replace(files, channel=(nominal + correction).astype(np.complex64))
    return _result(fit().run(), no_scenes(state.response.size), settings, about, nominal, correction)


def _with_channel_of(files: SceneFiles, stored: StoredCalibration) -> SceneFiles:
    """Applies the channel correction of a calibration to the scenes, if it has one; ValueError if it is for another
    channel."""
    if stored.channel_correction is None:
        return files
    light = Calibration(stored.element_response, stored.channel, stored.channel_correction, {})
    return dataclasses.replace(files, channel=light.corrected(static_channel(files)))


def update(
    model: SceneModel,
    files: SceneFiles,
    old: StoredCalibration,
    forget: float,
    settings: Settings = Settings(),
    *,
    anchors: Mapping[int, Anchors] | None = None,
    about: Mapping[str, Any] | None = None,
    progress: Progress = _quiet,
) -> CalibrationResult:
    """Adds new scenes to a calibration. Its stored sums are added to theirs, reduced by the factor `forget` per new
    scene, above 0, at most 1. Further arguments are those of `calibrate`; ValueError as in `_with_channel_of`."""
    files = _with_channel_of(files, old)
    past = old.sums * forget ** len(files)
    begin = FitState(old.element_response.astype(np.complex128), old.prior, on_all=True)
    fit = Fit(model, files, anchors or {}, settings.fit, begin, past, progress)
    fitted = fit.run()
    past = fit.past_at(fitted.last.response)
    return _result(fitted, past, settings, about, old.channel, old.channel_correction)


def scene_scores(
    model: SceneModel, files: SceneFiles, stored: StoredCalibration, progress: Progress = _quiet
) -> Iterator[tuple[Sums, np.ndarray]]:
    """Sums and scores of scenes under a stored calibration, batch by batch; see `SceneModel.summed`."""
    files = _with_channel_of(files, stored)
    response = stored.element_response.astype(np.complex64)
    sources = Sources.unknown(len(files), model.slots)
    done = progress("locating", len(files))
    for batch in files.batches():
        for locate in (True, False):
            model.update(sources, batch.scenes, batch.inputs, response, locate=locate)
        yield model.summed(sources.atoms(batch.scenes), batch.inputs, response, [NO_ANCHORS] * batch.size)
        done(batch.size)


def check(
    model: SceneModel,
    files: SceneFiles,
    stored: StoredCalibration,
    config: DriftConfig = DriftConfig(),
    progress: Progress = _quiet,
) -> DriftVerdict:
    """Tests whether a calibration is still valid for the scenes in the files; ValueError if there are too few of
    them."""
    sums, scores = no_scenes(stored.element_response.size), []
    for part, own in scene_scores(model, files, stored, progress):
        sums += part
        scores.append(own)
    return drift_test(np.concatenate(scores), sums.information, stored.covariance, stored.element_response, config)
