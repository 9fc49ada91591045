"""TFDS's own test case for a builder: features, splits that share nothing, registration, tags."""

from pathlib import Path

import tensorflow_datasets as tfds

from tfds_shards.ris_snapshots.ris_snapshots_dataset_builder import Builder, RISSnapshotsConfig


class RISSnapshotsTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    BUILDER_CONFIG_NAMES_TO_TEST = [RISSnapshotsConfig(name="l64_m64_impaired_3_2_1")]  # noqa: RUF012 (of the base)
    SPLITS = {"train": 3, "validation": 2, "test": 1}  # noqa: RUF012
    EXAMPLE_DIR = Path(__file__).parent  # nothing is downloaded; the base class wants a folder
    SKIP_TF1_GRAPH_MODE = True
    SKIP_CHECKSUMS = True
