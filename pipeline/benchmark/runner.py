"""Runs a benchmark: measures the missing cells, then writes the table, the JSON record and the figures."""

import csv
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.benchmark.cells import Cell, cell_batches
from pipeline.benchmark.estimators import EstimatorCache, applies
from pipeline.benchmark.figures import METRICS, plot_metric
from pipeline.benchmark.names import TRAINED
from pipeline.benchmark.options import BenchmarkOptions
from pipeline.benchmark.rows import Row, measure
from pipeline.benchmark.suites import Suite, benchmark_suite
from pipeline.common.artifacts import Fingerprint, Input, fingerprint, making, output_digest
from pipeline.common.records import plain, replacing, versions, write_json
from pipeline.figures.plots import save_figure

_OUTPUTS = ("results.csv", "results.json", "figures", "cells")


def expected_fingerprint(options: BenchmarkOptions, suite: Suite) -> Fingerprint:
    """Fingerprint of a benchmark with these options."""
    inputs = {path.name: Input(output_digest(path), path) for path in suite.files}
    if set(TRAINED) & set(options.estimators):
        inputs["the weights"] = Input(output_digest(options.backbone), options.backbone)
    return fingerprint("benchmark", options, inputs, left_out=("output_dir", "backbone", "quick"))


def cell_path(folder: Path, estimator: str, number: int) -> Path:
    """File with the row of an estimator for cell `number` of the suite."""
    return folder / "cells" / estimator / f"{number:02d}.json"


def _pairs(options: BenchmarkOptions, suite: Suite) -> Iterator[tuple[int, Cell, list[str]]]:
    """Yields the number of each cell, the cell, and the names of the estimators that apply to it."""
    for number, cell in enumerate(suite.cells):
        yield number, cell, [name for name in options.estimators if applies(name, cell)]


def _measure_missing(options: BenchmarkOptions, suite: Suite, logger: logging.Logger) -> None:
    """Measures every pair of estimator and cell that has no file yet. All estimators share the scenes of a cell."""
    missing = [
        (number, cell, left)
        for number, cell, names in _pairs(options, suite)
        if (left := [name for name in names if not cell_path(options.output_dir, name, number).exists()])
    ]
    total = sum(len(names) for *_, names in _pairs(options, suite))
    to_do = sum(len(left) for *_, left in missing)
    logger.info(f"{suite.name}: {total} cells of {options.scenes_a_cell} scenes, {total - to_do} of them already done")
    estimators = EstimatorCache(options.backbone)
    with tqdm(total=to_do * options.scenes_a_cell, unit="scene", desc=suite.name) as progress:
        for number, cell, left in missing:
            batches = cell_batches(cell, options.scenes_a_cell, options.batch_size, options.seed)
            for name in left:
                row = {"suite": suite.name, "estimator": name, **measure(cell, estimators.get(name, cell), batches)}
                write_json(cell_path(options.output_dir, name, number), row | {"seed": options.seed})
                progress.update(options.scenes_a_cell)
                logger.debug(f"{name}, {suite.axis} {cell.label}: F1 {row['f1']:.3f}")


def read_rows(options: BenchmarkOptions, suite: Suite) -> list[Row]:
    """Reads the rows of all cells, ordered by estimator and cell."""
    paths = [
        (options.estimators.index(name), number, cell_path(options.output_dir, name, number))
        for number, _, names in _pairs(options, suite)
        for name in names
    ]
    return [json.loads(path.read_text(encoding="utf-8")) for *_, path in sorted(paths)]


def write_table(path: Path, rows: list[Row]) -> None:
    """Writes the rows as CSV; a metric without a value becomes an empty cell."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(
            {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()} for row in rows
        )


def summary_lines(suite: Suite, rows: list[Row]) -> list[str]:
    """A table of F1 for the console: one line for each estimator, one column for each cell."""
    labels = [cell.label for cell in suite.cells]
    width = max(8, *(len(label) + 1 for label in labels))
    lines = [f"F1 by {suite.axis}", f"{'':22}" + "".join(f"{label:>{width}}" for label in labels)]
    for name in dict.fromkeys(row["estimator"] for row in rows):
        f1 = {row["label"]: row["f1"] for row in rows if row["estimator"] == name}
        shown = ("-" if f1.get(label) is None else f"{f1[label]:.3f}" for label in labels)
        lines.append(f"{name:22}" + "".join(f"{value:>{width}}" for value in shown))
    return lines


def benchmark(options: BenchmarkOptions, logger: logging.Logger) -> list[Row]:
    """Runs a benchmark, or resumes it; a complete one is not repeated. Returns its rows."""
    suite = benchmark_suite(options.suite)
    with making(options.output_dir, expected_fingerprint(options, suite), logger, leftovers=_OUTPUTS) as run:
        if run.state != "done":
            run.begin(options)
            _measure_missing(options, suite, logger)
        rows = read_rows(options, suite)
        if run.state != "done":
            _write_results(options, suite, rows)
            run.finish(*_OUTPUTS)
    for line in summary_lines(suite, rows):
        logger.info(line)
    logger.info(f"{', '.join(_OUTPUTS[:-1])} in {options.output_dir}")
    return rows


def _write_results(options: BenchmarkOptions, suite: Suite, rows: list[Row]) -> None:
    write_table(options.output_dir / "results.csv", rows)
    record: dict[str, Any] = {"options": plain(options), "axis": suite.axis, "rows": rows}
    write_json(options.output_dir / "results.json", record | {"versions": versions()})
    for metric in METRICS:
        if any(row[metric] is not None for row in rows):  # run time is not known if all scenes were one batch
            save_figure(plot_metric(suite, rows, metric), options.output_dir / "figures" / f"{metric}.png")
