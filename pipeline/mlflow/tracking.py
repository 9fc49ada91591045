"""The work of `python -m pipeline.mlflow`: what is found in a run's folder, into a store of MLflow."""

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
    """Tracks a run's folder; `pipeline.mlflow.store.load` comes before.

    Raises:
      ValueError: it is no run's, or the store does not take it.
      Busy: another process tracks it.
    """
    with folder_lock(options.run_dir, _LOCK):
        found = find_records(options.run_dir, options.model_base_path)
        for line in found.left_out:
            logger.info(line)
        with open_store(options.tracking_uri, options.experiment) as (client, experiment):
            runs = write_run(client, experiment, found, run_name(options.run_dir), logger)
            register(client, found, runs, options.registered_model, logger)
        set_tracked(options, found)
    logger.info(f"{len(found.records)} stages of {options.run_dir} are in {options.tracking_uri}, {options.experiment}")
