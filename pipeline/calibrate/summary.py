"""A calibration in words."""

import numpy as np

from pipeline.calibrate.calibrating import CalibrationResult
from pipeline.calibrate.drift import DriftVerdict
from pipeline.calibrate.learning import ENOUGH_ERROR, LearningCurve


def result_lines(result: CalibrationResult) -> list[str]:
    """What was found, how well it is known, and what was not told by the scenes."""
    stored, fitted = result.stored, result.fitted
    alive = ~stored.dead
    response = stored.element_response[alive]
    lines = [
        f"{fitted.passes} passes; a scene held out gained {fitted.held_gain:.1f} of log-likelihood from first to last",
        f"phase {np.std(np.angle(response)):.3f} rad rms, amplitude {np.abs(response).min():.2f} to "
        f"{np.abs(response).max():.2f} of the median, standard error {_rms(stored.element_response_std[alive]):.3f}",
        f"dead: {int(stored.dead.sum())} of {stored.dead.size} elements"
        + (f": {', '.join(map(str, np.flatnonzero(stored.dead)))}" if stored.dead.any() else ""),
    ]
    if stored.channel_correction is not None and stored.channel is not None:
        share = np.sum(np.abs(stored.channel_correction) ** 2) / np.sum(np.abs(stored.channel) ** 2)
        lines.append(f"channel correction: {10 * np.log10(share):.1f} dB of the channel")
    return [*lines, *curve_lines(result.curve)]


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.abs(values) ** 2)))


def curve_lines(curve: LearningCurve) -> list[str]:
    """The learning curve by halves, and what it says."""
    lines = ["scenes   standard error   error shown by halves"]
    lines += [f"{point.scenes:6.0f}   {point.predicted:14.3f}   {point.shown:21.3f}" for point in curve.points]
    need = f"scenes needed for an error of {ENOUGH_ERROR:g}, which costs nothing: about {curve.scenes_needed}"
    return [*lines, need + ("" if curve.scenes_needed > curve.points[-1].scenes else ", so these are enough")]


def warning_of(result: CalibrationResult) -> str | None:
    """One line where the scenes cannot tell."""
    curve = result.curve
    if curve.telling:
        return None
    return (
        f"these {curve.points[-1].scenes:.0f} scenes leave an error of {curve.error:.2f} in an element response "
        f"that is {curve.without:.2f} off: they can't tell; take about {curve.scenes_needed}"
    )


def verdict_lines(verdict: DriftVerdict, false_alarm_rate: float) -> list[str]:
    """What the check says."""
    says = "drifted" if verdict.drifted else "holds"
    return [
        f"{says}: {verdict.scenes} scenes, p = {verdict.p_value:.4f} at a false-alarm rate of {false_alarm_rate:g}; "
        f"the element response is off by about {verdict.change_rms:.3f} rms, if it has changed"
    ]
