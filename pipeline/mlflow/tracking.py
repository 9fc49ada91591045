"""Runs `python -m pipeline.mlflow`: writes the records of a run's folder to an MLflow store."""

import logging

from pipeline.common.artifacts import folder_lock
from pipeline.mlflow.options import MlflowOptions
from pipeline.mlflow.records import find_records
from pipeline.mlflow.registry import register
from pipeline.mlflow.state import run_name, set_tracked
from pipeline.mlflow.store import open_store
from pipeline.mlflow.writing import write_run

_LOCK = ".track.lock"


def track(options: MlflowOptions, logger: logging.Logger) -> None:
    """Writes a run's folder to a store. Call `pipeline.mlflow.store.load` before."""
    with folder_lock(options.run_dir, _LOCK):
        found = find_records(options.run_dir, options.model_base_path)
        for line in found.left_out:
            logger.info(line)
        with open_store(options.tracking_uri, options.experiment) as (client, experiment):
            runs = write_run(client, experiment, found, run_name(options.run_dir), logger)
            register(client, found, runs, options.registered_model, logger)
        set_tracked(options, found)
    logger.info(f"{len(found.records)} stages of {options.run_dir} are in {options.tracking_uri}, {options.experiment}")
