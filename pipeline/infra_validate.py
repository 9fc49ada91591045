"""`python -m pipeline.infra_validate`: does an exported model load and answer in a server?"""

import dataclasses
import json
import logging
import sys
from pathlib import Path
from typing import Any

import tensorflow as tf
import tyro

from pipeline.common.artifacts import Fingerprint, Input, fingerprint, making
from pipeline.common.records import logging_to, plain, write_json
from pipeline.evaluation.estimators import latest_version
from pipeline.release.infra_validation import VALID, InfraConfig, validate_infrastructure
from pipeline.release.pushing import model_digest
from pipeline.training.fitting import common_scenario

INFRA_FILE = "infra_validation.json"


@dataclasses.dataclass(frozen=True)
class InfraValidateOptions:
    """Loads a staged model in a canary server in another process and sends it requests over gRPC and REST."""

    saved_model: Path
    """A SavedModel in a folder named by its version, or the folder of its only version."""
    run_dir: Path
    """Where infra_validation.json and logs/ go."""
    config: str = "l64_m64"
    """Set whose installation the requests are simulated for."""
    infra: InfraConfig = InfraConfig()


def asked(options: InfraValidateOptions) -> Fingerprint:
    """What decides the verdict, but for the machine's speed.

    Raises:
      ValueError: no model there.
    """
    version = latest_version(options.saved_model)
    inputs = {"the model": Input(model_digest(version), version)}
    return fingerprint("pipeline.infra_validate", options, inputs, left_out=("run_dir", "saved_model"))


def judge(options: InfraValidateOptions, logger: logging.Logger) -> dict[str, Any]:
    """Validates, or reads the verdict that lies there; returns the record.

    Raises:
      Differs: the folder holds the verdict on something else.
      ValueError: no model there.
    """
    with making(options.run_dir, asked(options), logger) as run:
        if run.state != "done":
            run.begin(options)
            version = latest_version(options.saved_model)
            found = validate_infrastructure(version, common_scenario([options.config]), options.infra)
            record = {**dataclasses.asdict(found), "model": model_digest(version)}
            write_json(options.run_dir / INFRA_FILE, plain(record))
            run.finish(INFRA_FILE)
    record = json.loads((options.run_dir / INFRA_FILE).read_text(encoding="utf-8"))
    logger.info(f"{record['verdict']}: {'; '.join(record['reasons']) or 'loads, answers as it does in process'}")
    if record["latency_ms"] is not None:
        logger.info(f"{record['latency_ms']:.1f} ms a request of one scene, {record['memory_mib']:.0f} MiB")
    return record


def main() -> None:
    """Command line entry point; exit status 1 where the verdict is INVALID."""
    try:
        options = tyro.cli(InfraValidateOptions, prog="python -m pipeline.infra_validate")
        with logging_to(options.run_dir / "logs", "infra_validate") as (logger, log_path):
            logger.info(f"log: {log_path}")
            verdict = judge(options, logger)["verdict"]
    except (ValueError, OSError, tf.errors.OpError) as error:
        first_line = str(error).strip().partition("\n")[0]
        sys.exit(f"pipeline.infra_validate: {first_line}")
    sys.exit(0 if verdict == VALID else 1)


if __name__ == "__main__":
    main()
