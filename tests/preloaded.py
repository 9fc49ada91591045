"""What processes of `tests.forked` have imported when they begin."""

import gc

from models.lean_start import start_lean

start_lean()

import pipeline.refine.training  # noqa: E402
import pipeline.train.training  # noqa: E402
import pipeline.tune.study  # noqa: E402, F401

gc.collect()
gc.freeze()
