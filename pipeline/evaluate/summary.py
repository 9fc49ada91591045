"""Formats the metrics of an evaluation as a table for the console."""

import math
from typing import Any

from pipeline.metrics.evaluation import bin_label
from pipeline.metrics.match_counts import Difference

_HEADER = (
    "SNR, dB   scenes  F1 (95 %)           P      R     | strict F1  P      R     | rmse m  median m  GOSPA m  K right"
)


def _number(value: float, digits: int = 3) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _row(label: str, row: dict[str, Any]) -> str:
    standard, strict = row["standard"], row["strict"]
    low, high = standard["f1_interval"]
    interval = f"{_number(standard['f1'])} [{_number(low)}, {_number(high)}]"
    return (
        f"{label:<9} {row['scenes']:>6}  {interval:<19} {_number(standard['precision']):<5}  "
        f"{_number(standard['recall']):<5} | "
        f"{_number(strict['f1']):<9}  {_number(strict['precision']):<5}  {_number(strict['recall']):<5} | "
        f"{_number(row['rmse_xyz_m']):<6}  {_number(row['median_position_error_m']):<8}  "
        f"{_number(row['gospa']['mean_m']):<7}  {_number(row['num_sources_accuracy'])}"
    )


def summary_lines(metrics: dict[str, Any]) -> list[str]:
    """Lines of the table for the metrics of `compute_metrics`."""
    settings = metrics["settings"]
    confidence, scale_m = settings["confidence"], settings["rmse_scale_m"]
    low, high = metrics["objective_interval"]
    lines = [
        _HEADER.replace("95 %", f"{100 * confidence:g} %"),
        _row("all", metrics),
        *(_row(bin_label(*row["snr_db"]), row) for row in metrics["by_snr"]),
        "",
        "range, m   sources  recall  strict  rmse m  median m  error / bound",
    ]
    for row in metrics["by_range"]:
        lines.append(
            f"{bin_label(*row['range_m']):<10} {row['sources']:>7}  {_number(row['recall_standard']):<6}  "
            f"{_number(row['recall_strict']):<6}  {_number(row['rmse_xyz_m']):<6}  "
            f"{_number(row['median_position_error_m']):<8}  {_number(row['median_error_over_bound'])}"
        )
    lines += [
        "",
        f"objective (rmse_xyz / {scale_m:.3g} m + 10 (1 - F1)): "
        f"{_number(metrics['objective'])} [{_number(low)}, {_number(high)}]",
        f"false alarms per scene: {_number(metrics['false_alarms_per_scene'])}",
    ]
    if metrics["calibration"] is not None:
        lines.append(f"score calibration error: {_number(metrics['calibration']['expected_calibration_error'])}")
    if metrics["position_covariance"] is not None:
        lines.append(
            f"NEES / 3 of hits (1 if covariances are correct): {_number(metrics['position_covariance']['nees_over_3'])}"
        )
    if metrics["invalid_estimates"]:
        lines.append(f"estimates that are not finite, counted as false alarms: {metrics['invalid_estimates']}")
    return lines


def comparison_lines(differences: dict[str, Difference]) -> list[str]:
    """Lines with the difference of each statistic and its interval."""
    return [f"{name}: {item:+.4f}" for name, item in differences.items()]
