"""The Cramer-Rao bound of one source's position, as a table over range and SNR."""

import csv
import dataclasses
import logging
import math
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.figure import Figure

from models.baselines.crb import information, position_bound
from models.baselines.measurement import Measurement, steering_columns
from models.physics.geometry import RISArray, Scenario
from models.physics.steering import source_positions_m
from pipeline.bound.options import BoundOptions
from pipeline.common.records import replacing
from pipeline.figures.plots import save_figure
from tfds_shards.codebook import code_phasors
from tfds_shards.scene_sets import scene_set
from tfds_shards.simulator import SceneConfig, simulate_scene

_RANGES = 8


@dataclasses.dataclass(frozen=True)
class Row:
    """The bound at one range and SNR: standard deviations in metres, medians over the channels.

    error_m: root of the trace of the position covariance. along_m: along the line of sight from the surface (range).
    across_m: across it (direction).
    """

    range_m: float
    snr_db: float
    error_m: float
    along_m: float
    across_m: float


def operators(config: SceneConfig, draws: int) -> Iterator[np.ndarray]:
    """The measurement operators H diag(c_l) of the first test scenes of a config, each [L, M, N] complex128."""
    for number in range(draws):
        scene = simulate_scene(config, "test", number)
        codes = code_phasors(scene.code_phase_index, config.phase_bits)
        yield np.asarray(scene.channel, np.complex128) * np.asarray(codes, np.complex128)[:, None, :]


def single_source_bound(operator: np.ndarray, point: np.ndarray, snr_db: float, array: RISArray) -> np.ndarray:
    """The bound of the position covariance of one source of unknown power in noise of known power: [3, 3] float64, m^2.

    Args:
      operator: H diag(c_l), [L, M, N] complex128.
      point: [3] float64: azimuth, elevation (radians), inverse range (1/m).
      snr_db: mean |y without noise|^2 / sigma^2, dB.
      array: the surface.
    """
    parameters = np.append(point, 0.0)[None]  # the power is 1: the SNR fixes the noise
    silent = Measurement(np.zeros(operator.shape[:2], np.complex128), operator, 1.0)
    steering, _ = steering_columns(point[None], array)
    noise_power = np.mean(np.abs(silent.respond(steering)) ** 2) / 10.0 ** (snr_db / 10.0)
    fisher = information(parameters, dataclasses.replace(silent, noise_power=float(noise_power)), array)
    return position_bound(fisher, parameters).covariance_m2[0]


def bound_table(
    scenario: Scenario, drawn: Sequence[np.ndarray], options: BoundOptions, ranges_m: Sequence[float]
) -> list[Row]:
    """The bound at every range and SNR, by range first. drawn: measurement operators."""
    azimuth, elevation = math.radians(options.azimuth_deg), math.radians(options.elevation_deg)
    outwards = np.asarray(source_positions_m(azimuth, elevation, 1.0), np.float64)
    rows = []
    for range_m in ranges_m:
        point = np.array([azimuth, elevation, 1.0 / range_m])
        for snr_db in options.snr_db:
            covariances = np.array([single_source_bound(one, point, snr_db, scenario.array) for one in drawn])
            whole = np.trace(covariances, axis1=-2, axis2=-1)
            along = np.einsum("i,bij,j->b", outwards, covariances, outwards)
            error, radial, lateral = (float(np.median(np.sqrt(part))) for part in (whole, along, whole - along))
            rows.append(Row(range_m, snr_db, error, radial, lateral))
    return rows


def default_ranges_m(scenario: Scenario) -> tuple[float, ...]:
    """Ranges from the nearest to the farthest of the field of view, in equal ratios."""
    return tuple(np.geomspace(*scenario.field_of_view.range_m, _RANGES).tolist())


def table_lines(rows: Sequence[Row]) -> Iterator[str]:
    """The table as people read it."""
    yield f"{'range m':>9}{'SNR dB':>9}{'error m':>12}{'along m':>12}{'across m':>12}"
    for row in rows:
        yield f"{row.range_m:9.2f}{row.snr_db:9.1f}{row.error_m:12.4f}{row.along_m:12.4f}{row.across_m:12.4f}"


def plot(rows: Sequence[Row]) -> Figure:
    """The bound over range, a line for each SNR."""
    figure = Figure(figsize=(6.0, 4.0), layout="constrained")
    axes = figure.subplots()
    for snr_db in sorted({row.snr_db for row in rows}):
        line = [row for row in rows if row.snr_db == snr_db]
        axes.loglog([row.range_m for row in line], [row.error_m for row in line], marker="o", label=f"{snr_db:g} dB")
    axes.set(xlabel="range, m", ylabel="bound of the position error, m")
    axes.grid(alpha=0.3, which="both")
    axes.legend(title="SNR")
    return figure


def bound(options: BoundOptions, logger: logging.Logger) -> list[Row]:
    """Computes the table, prints it, and writes what the options ask for."""
    config = scene_set(options.config).config
    drawn = list(operators(config, options.draws))
    rows = bound_table(config.scenario, drawn, options, options.range_m or default_ranges_m(config.scenario))
    logger.info(
        f"Cramer-Rao bound of one source at azimuth {options.azimuth_deg:g} deg, elevation {options.elevation_deg:g} "
        f"deg, {config.num_snapshots} snapshots, median of {options.draws} channels of {options.config}:"
    )
    for line in table_lines(rows):
        logger.info(line)
    if options.output is not None:
        with replacing(options.output) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Row)])
            writer.writeheader()
            writer.writerows(map(dataclasses.asdict, rows))
        figure = options.output.with_suffix(".png")
        save_figure(plot(rows), figure)
        logger.info(f"wrote {options.output} and {figure}")
    return rows
