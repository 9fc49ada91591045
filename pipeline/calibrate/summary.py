"""Log lines that summarise a calibration."""

import numpy as np

from pipeline.calibrate.calibrating import CalibrationResult
from pipeline.calibrate.drift import DriftVerdict
from pipeline.calibrate.learning_curve import ENOUGH_ERROR, LearningCurve, rms


def result_lines(result: CalibrationResult) -> list[str]:
    """Summarises a calibration: the fit, the response, dead elements, and the learning curve."""
    stored, fitted = result.stored, result.fitted
    alive = ~stored.dead
    response = stored.element_response[alive]
    lines = [
        f"{fitted.passes} passes; log-likelihood per held-out scene rose by {fitted.held_gain:.1f}",
        f"phase {np.std(np.angle(response)):.3f} rad rms, amplitude {np.abs(response).min():.2f} to "
        f"{np.abs(response).max():.2f} of the median, standard error {rms(stored.element_response_std[alive]):.3f}",
        f"dead: {int(stored.dead.sum())} of {stored.dead.size} elements"
        + (f": {', '.join(map(str, np.flatnonzero(stored.dead)))}" if stored.dead.any() else ""),
    ]
    if stored.channel_correction is not None and stored.channel is not None:
        share = np.sum(np.abs(stored.channel_correction) ** 2) / np.sum(np.abs(stored.channel) ** 2)
        lines.append(f"channel correction: {10 * np.log10(share):.1f} dB of the channel")
    return [*lines, *curve_lines(result.curve)]


def curve_lines(curve: LearningCurve) -> list[str]:
    """The learning curve as a table, and the number of scenes needed."""
    lines = ["scenes   predicted error   observed error"]
    lines += [f"{point.scenes:6.0f}   {point.predicted:15.3f}   {point.observed:14.3f}" for point in curve.points]
    need = f"scenes needed for an error of {ENOUGH_ERROR:g}, which costs no accuracy: about {curve.scenes_needed}"
    return [*lines, need + ("" if curve.scenes_needed > curve.points[-1].scenes else "; these are enough")]


def warning_of(result: CalibrationResult) -> str | None:
    """A warning if the scenes are too few to calibrate with; None otherwise."""
    curve = result.curve
    if curve.is_informative:
        return None
    return (
        f"too few scenes: with these {curve.points[-1].scenes:.0f} the calibrated response has an error of "
        f"{curve.error:.2f}, the nominal one of {curve.uncalibrated_error:.2f}; record about {curve.scenes_needed}"
    )


def verdict_line(verdict: DriftVerdict, false_alarm_rate: float) -> str:
    """The verdict of the check as a log line."""
    return (
        f"{'drifted' if verdict.drifted else 'holds'}: {verdict.scenes} scenes, p = {verdict.p_value:.4f} at a "
        f"false-alarm rate of {false_alarm_rate:g}; "
        f"if the element response has changed, it has by about {verdict.change_rms:.3f} rms"
    )
