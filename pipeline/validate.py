"""`python -m pipeline.validate`: are the scenes on disk what they should be? VALID or INVALID, with statistics.

With --measurements also whether what a server is sent looks like what was trained on.
"""

import dataclasses
import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tyro

from pipeline.common.artifacts import Fingerprint, fingerprint, making
from pipeline.common.records import logging_to, plain, write_json
from pipeline.scenes.identity import scenes_inputs
from pipeline.scenes.reading import load_scenes
from pipeline.scenes.validation import Findings, duplicates, inspect, measurement_figures, skew, summary
from serving.client.measurement import read_measurement
from tfds_shards.scene_sets import scene_set

VALIDATION_FILE = "validation.json"
VALID, INVALID = "VALID", "INVALID"
_BATCH = 200
_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class ValidateOptions:
    """Looks at every scene of a set: shapes, ranges, power, SNR, order, and duplicates between the splits."""

    run_dir: Path
    """Where validation.json, the statistics in it, and logs/ go."""
    config: str = "l64_m64"
    """Set of scenes, as for `python -m pipeline.data`."""
    data_dir: Path = Path("runs/data")
    """Where `python -m pipeline.data` put the scenes."""
    measurements: Path | None = None
    """A measurement file as the client sends it, .npz: compared with the training scenes."""
    skew_limit: float = 0.2
    """Largest Kolmogorov-Smirnov distance of a figure of the measurements from that of the training scenes."""

    def __post_init__(self) -> None:
        if not 0 < self.skew_limit <= 1:
            raise ValueError(f"--skew-limit: expected a number in (0, 1], got {self.skew_limit}")


def asked(options: ValidateOptions) -> Fingerprint:
    """What decides the verdict.

    Raises:
      FileNotFoundError, ValueError: scenes or measurements that are not there.
    """
    scenes = scenes_inputs(options.data_dir, [options.config])
    return fingerprint("pipeline.validate", options, scenes, left_out=("run_dir", "data_dir"))


def validate(options: ValidateOptions, logger: logging.Logger) -> dict[str, Any]:
    """Looks at the scenes, or reads the verdict that lies there; returns the record.

    Raises:
      Differs: the folder holds the verdict on something else.
      FileNotFoundError, ValueError: no scenes, or torn ones.
    """
    with making(options.run_dir, asked(options), logger) as run:
        if run.state != "done":
            run.begin(options)
            write_json(options.run_dir / VALIDATION_FILE, plain(_validate(options, logger)))
            run.finish(VALIDATION_FILE)
    record: dict[str, Any] = json.loads((options.run_dir / VALIDATION_FILE).read_text(encoding="utf-8"))
    logger.info(f"{record['verdict']}: {'; '.join(record['reasons'][:_SHOWN]) or 'all scenes are as they should be'}")
    return record


def _validate(options: ValidateOptions, logger: logging.Logger) -> dict[str, Any]:
    expected = scene_set(options.config)
    by_split: dict[str, Findings] = {}
    for split in expected.sizes:
        batches = load_scenes(options.data_dir, options.config, split, batch_size=_BATCH)
        by_split[split] = inspect(batches.as_numpy_iterator(), expected)
        logger.info(f"{split}: {len(by_split[split].hashes)} scenes, {sum(by_split[split].faults.values())} faults")
    twice = duplicates(by_split)
    reasons = twice[:_SHOWN] + ([f"{len(twice)} scenes are there twice"] if len(twice) > _SHOWN else [])
    for split, found in by_split.items():
        reasons += [f"{split}: {fault}, {count} scenes" for fault, count in found.faults.items()]
    figures = {split: found.measured() for split, found in by_split.items()}
    skewed = _skew(options, figures["train"])
    for name, row in skewed.items():
        logger.info(f"measurements, {name}: distance {row['distance']:.3f}, limit {row['limit']:.3f}")
    reasons += [
        f"measurements: {name} is {row['distance']:.2f} from the training scenes', at most {row['limit']:.2f} asked"
        for name, row in skewed.items()
        if row["skewed"]
    ]
    return {
        "verdict": INVALID if reasons else VALID,
        "reasons": reasons,
        "duplicates": len(twice),
        "statistics": {split: {name: summary(x) for name, x in found.items()} for split, found in figures.items()},
        "skew": skewed,
    }


def _skew(options: ValidateOptions, training: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    if options.measurements is None:
        return {}
    measurement = read_measurement(options.measurements)
    served = measurement_figures(measurement.inputs(0, len(measurement)))
    return skew(training, served, options.skew_limit)


def main() -> None:
    """Command line entry point; exit status 1 where the verdict is INVALID."""
    try:
        options = tyro.cli(ValidateOptions, prog="python -m pipeline.validate")
        with logging_to(options.run_dir / "logs", "validate") as (logger, log_path):
            logger.info(f"log: {log_path}")
            verdict = validate(options, logger)["verdict"]
    except (ValueError, OSError, tf.errors.OpError) as error:
        first_line = str(error).strip().partition("\n")[0]
        sys.exit(f"pipeline.validate: {first_line}")
    sys.exit(0 if verdict == VALID else 1)


if __name__ == "__main__":
    main()
