"""Warm-up records in the exported version, and graphs that TF Serving cannot run."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tyro
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from models.localizer import Localizer
from models.physics.geometry import RISArray, Scenario
from pipeline.export.exporting import export_localizer
from pipeline.export.options import ExportOptions
from pipeline.export.warmup import WARMUP_FILE
from tests.conftest import MODEL_NAME
from tfds_shards.inputs import simulated_inputs

BATCH_SIZES = (1, 4)
MEGABYTE = 2**20


@pytest.fixture(scope="module")
def version(tiny_localizer: Localizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_localizer(tiny_localizer, tmp_path_factory.mktemp("models") / MODEL_NAME)


@pytest.fixture(scope="module")
def requests(version: Path) -> list[predict_pb2.PredictRequest]:
    records = tf.data.TFRecordDataset(str(version / WARMUP_FILE)).as_numpy_iterator()
    logs = [prediction_log_pb2.PredictionLog.FromString(record) for record in records]
    assert {log.WhichOneof("log_type") for log in logs} == {"predict_log"}
    return [log.predict_log.request for log in logs]


def test_every_signature_that_locates_has_a_record_of_each_batch_size(version: Path, requests) -> None:
    assert version / WARMUP_FILE == version / "assets.extra" / "tf_serving_warmup_requests"
    sizes = [
        (request.model_spec.signature_name, len(tf.make_ndarray(request.inputs["snr_db"]))) for request in requests
    ]
    signatures = ("serving_default", "localize_real")
    assert sorted(sizes) == sorted((name, size) for name in signatures for size in BATCH_SIZES)
    assert {request.model_spec.name for request in requests} == {MODEL_NAME}
    assert (version / WARMUP_FILE).stat().st_size < 3 * MEGABYTE


@pytest.mark.promise("tensorflow serving")
def test_every_record_replays_in_a_session(version: Path, requests) -> None:
    """As in TF Serving: load by tag `serve`, feed inputs by name, fetch all outputs of the signature."""
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True  # as in all of these tests, see conftest
    with tf.Graph().as_default(), tf.compat.v1.Session(config=config) as session:
        signatures = tf.compat.v1.saved_model.load(session, ["serve"], str(version)).signature_def
        for request in requests:
            signature = signatures[request.model_spec.signature_name]
            assert set(request.inputs) == set(signature.inputs)
            for alias, info in signature.inputs.items():
                assert request.inputs[alias].dtype == info.dtype
            feeds = {info.name: tf.make_ndarray(request.inputs[alias]) for alias, info in signature.inputs.items()}
            outputs = {alias: info.name for alias, info in signature.outputs.items()}
            values = session.run(outputs, feeds)
            batch = len(feeds[signature.inputs["snr_db"].name])
            # Batching splits every output along its first axis and rejects outputs of another length.
            assert {alias: len(value) for alias, value in values.items()} == dict.fromkeys(signature.outputs, batch)


def test_scenes_are_the_installations() -> None:
    """Also for a small surface with fewer elements than snapshots."""
    scenes = simulated_inputs(Scenario(array=RISArray(num_horizontal=4, num_vertical=3), num_antennas=5), 2)
    shapes = {name: value.shape for name, value in scenes.items()}
    assert shapes == {"snapshots": (2, 64, 5), "ris_codes": (2, 64, 12), "channel": (2, 5, 12), "snr_db": (2,)}
    assert all(value.dtype == np.complex64 for name, value in scenes.items() if name != "snr_db")
    np.testing.assert_allclose(np.abs(scenes["ris_codes"]), 1.0, rtol=1e-6)


class CompiledLocalizer(Localizer):
    """Compiles a step with XLA: the TensorFlow package runs it, TF Serving does not."""

    @tf.function(jit_compile=True)
    def decibels(self, power: tf.Tensor) -> tf.Tensor:
        return 10.0 * tf.math.log(power) / tf.math.log(10.0)

    def report(self, *candidates, **options):
        outputs = super().report(*candidates, **options)
        return {**outputs, "power_db": self.decibels(10.0 ** (outputs["power_db"] / 10.0))}


@pytest.mark.extended
def test_a_compiled_function_is_refused_and_nothing_is_left(tmp_path: Path, tiny_localizer: Localizer) -> None:
    compiled = CompiledLocalizer(tiny_localizer.backbone, tiny_localizer.config)
    with pytest.raises(ValueError, match=r"expected no function of jit_compile=True.*got \[.*decibels"):
        export_localizer(compiled, tmp_path / MODEL_NAME)
    assert list((tmp_path / MODEL_NAME).iterdir()) == []


def test_records_can_be_left_out(tiny_model: Path) -> None:
    """The export of `tiny_model` has none."""
    options = tyro.cli(ExportOptions, args=["--model-base-path", "models", "--warmup-batch-sizes"])
    assert options.warmup_batch_sizes == ()
    (version,) = tiny_model.iterdir()
    assert (version / "saved_model.pb").exists()
    assert not (version / WARMUP_FILE).exists()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (["1", "0"], "expected 1 or more scenes per request, got 0"),
        (501 * ["1"], "expected at most 500 sizes for 2 signatures, got 501"),
    ],
)
def test_wrong_sizes_are_named_before_anything_is_written(
    tmp_path: Path, refused, sizes: list[str], message: str
) -> None:
    said = refused("export", "--model-base-path", tmp_path / MODEL_NAME, "--warmup-batch-sizes", *sizes)
    assert said == f"warmup_batch_sizes: {message}"
    assert list(tmp_path.iterdir()) == []
