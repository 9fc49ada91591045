"""The exported SavedModel: signatures agree with the design and with each other; versions are written atomically."""

import dataclasses
import shutil
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

from models.artifacts import moved_to
from models.covariance_estimator.backbone import Backbone
from models.covariance_estimator.config import RefinementConfig
from models.localizer import Localizer
from models.localizer_weights import LocalizerWeights
from models.physics.geometry import FieldOfView, RISArray, Scenario
from pipeline.export import exporting
from pipeline.export.exporting import SIGNATURES, export_localizer
from pipeline.release.versions import read_meta_graph
from serving.server.config import single_model
from serving.server.manager import ModelManager
from serving.server.servable import load_servable
from serving.server.versions import ManagerConfig
from tests.conftest import MODEL_NAME, TINY
from tests.references.mvdr import spectrum as mvdr_reference
from tests.references.steering import steering_vector
from tests.rigs.killed_at import killed_stage
from tests.simulated import batch_of, inputs_of, loud
from tfds_shards.simulator import CONFIGS

ANTENNAS, ELEMENTS, K_MAX = 16, 144, 5
SOURCE_OUTPUTS = {
    "num_sources": (tf.int32, [-1]),
    **{name: (tf.float32, [-1, K_MAX]) for name in ("azimuth_deg", "elevation_deg", "range_m", "power_db", "score")},
    "position_m": (tf.float32, [-1, K_MAX, 3]),
    "position_cov_m2": (tf.float32, [-1, K_MAX, 3, 3]),
    "num_paths": (tf.int32, [-1, K_MAX]),
}
INPUTS = {
    "snapshots": (tf.complex64, [-1, -1, ANTENNAS]),
    "ris_codes": (tf.complex64, [-1, -1, ELEMENTS]),
    "channel": (tf.complex64, [-1, ANTENNAS, ELEMENTS]),
    "snr_db": (tf.float32, [-1]),
}


@pytest.fixture(scope="module")
def version(tiny_model: Path) -> Path:
    (only,) = tiny_model.iterdir()
    return only


@pytest.fixture(scope="module")
def model(version: Path):
    return tf.saved_model.load(str(version))


@pytest.fixture(scope="module")
def inputs() -> dict[str, np.ndarray]:
    return inputs_of(batch_of(4, loud(3, 20.0)))


def call(model, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    outputs = model.signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})
    return {name: value.numpy() for name, value in outputs.items()}


@pytest.fixture(scope="module")
def covariance(model, inputs) -> np.ndarray:
    return call(model, "covariance", inputs)["covariance"]


@pytest.fixture(scope="module")
def spectrum(model, inputs) -> dict[str, np.ndarray]:
    """The spectra and the common grid of all scenes."""
    outputs = call(model, "spectrum", inputs)
    for name in ("azimuth_deg", "elevation_deg", "range_m"):
        np.testing.assert_array_equal(outputs[name], np.repeat(outputs[name][:1], 4, axis=0))
    return {name: value if name == "spectrum" else value[0] for name, value in outputs.items()}


# Signatures


def test_signatures_are_those_of_the_design(version: Path) -> None:
    servable = load_servable(version, 1)

    def described(infos) -> dict[str, tuple[tf.DType, list[int]]]:
        return {
            name: (tf.as_dtype(info.dtype), [dim.size for dim in info.tensor_shape.dim]) for name, info in infos.items()
        }

    real = {
        name: (tf.float32, [*shape, 2]) if dtype.is_complex else (dtype, shape)
        for name, (dtype, shape) in INPUTS.items()
    }
    found = {name: signature for name, signature in servable.signatures.items() if not name.startswith("__")}
    assert set(found) == {*SIGNATURES, "surface"}
    assert described(found["surface"].inputs) == {"snr_db": INPUTS["snr_db"]}
    assert described(found["serving_default"].inputs) == INPUTS
    assert described(found["localize_real"].inputs) == real
    assert described(found["serving_default"].outputs) == SOURCE_OUTPUTS
    assert described(found["localize_real"].outputs) == SOURCE_OUTPUTS
    for name in ("covariance", "spectrum"):
        assert described(found[name].inputs) == INPUTS
    assert described(found["covariance"].outputs) == {"covariance": (tf.complex64, [-1, ELEMENTS, ELEMENTS])}
    assert set(found["spectrum"].outputs) == {"spectrum", "azimuth_deg", "elevation_deg", "range_m"}
    servable.close()


def test_the_graph_is_small(version: Path) -> None:
    """Every node is loaded, optimised and held by a server. Signatures share functions, weights are constants."""
    meta_graph = read_meta_graph(version)
    functions = meta_graph.graph_def.library.function
    assert len(meta_graph.graph_def.node) + sum(len(function.node_def) for function in functions) <= 5_000
    operations = {node.op for function in functions for node in function.node_def}
    assert not operations & {"ReadVariableOp", "VarHandleOp"}


def _function(inputs: int, nodes: list[tuple[str, str, list[str]]], output: str) -> MetaGraphDef:
    """A meta graph with one function of float arguments x0, x1, ...; nodes are (name, operation, inputs)."""
    meta_graph = MetaGraphDef()
    meta_graph.meta_info_def.stripped_op_list.op.add(name="Assert", is_stateful=True)
    function = meta_graph.graph_def.library.function.add()
    function.signature.name = "f"
    for number in range(inputs):
        function.signature.input_arg.add(name=f"x{number}", type=tf.float32.as_datatype_enum)
    function.signature.output_arg.add(name="y", type=tf.float32.as_datatype_enum)
    for name, operation, given in nodes:
        node = function.node_def.add(name=name, op=operation, input=given)
        node.attr["T"].type = tf.float32.as_datatype_enum
    function.ret["y"] = output
    return meta_graph


def test_equal_nodes_are_merged_and_others_stay() -> None:
    nodes = [
        ("a", "Neg", ["x0"]),
        ("b", "Neg", ["x0"]),
        ("c", "Neg", ["x1"]),
        ("copy", "Identity", ["b:y:0"]),
        ("sum", "AddV2", ["a:y:0", "copy:output:0"]),
        ("again", "AddV2", ["b:y:0", "a:y:0"]),
        ("last", "Mul", ["sum:z:0", "again:z:0"]),
        ("other", "Sub", ["last:z:0", "c:y:0"]),
    ]
    meta_graph = _function(2, nodes, "other:z:0")
    exporting.simplify(meta_graph)
    (function,) = meta_graph.graph_def.library.function
    assert [(node.name, list(node.input)) for node in function.node_def] == [
        ("a", ["x0"]),
        ("c", ["x1"]),
        ("sum", ["a:y:0", "a:y:0"]),
        ("last", ["sum:z:0", "sum:z:0"]),
        ("other", ["last:z:0", "c:y:0"]),
    ]


def test_checks_and_what_waits_for_them_are_not_merged() -> None:
    nodes = [
        ("check", "Assert", ["x0"]),
        ("check_again", "Assert", ["x0"]),
        ("waits", "Identity", ["x0", "^check"]),
        ("awaited", "Neg", ["x0"]),
        ("equal", "Neg", ["x0"]),
        ("y", "Mul", ["waits:output:0", "equal:y:0", "^awaited"]),
    ]
    meta_graph = _function(1, nodes, "y:z:0")
    exporting.simplify(meta_graph)
    (function,) = meta_graph.graph_def.library.function
    assert [node.name for node in function.node_def] == [name for name, _, _ in nodes]


def test_a_copy_of_an_argument_can_be_the_result() -> None:
    meta_graph = _function(
        1, [("copy", "Identity", ["x0"]), ("copy_1", "Identity", ["copy:output:0"])], "copy_1:output:0"
    )
    exporting.simplify(meta_graph)
    (function,) = meta_graph.graph_def.library.function
    assert not function.node_def
    assert function.ret["y"] == "x0"


def test_r_pred_is_one_graph_for_all_signatures(version: Path) -> None:
    """A second copy would raise a server's memory and load time by half; the same holds for the refinement."""
    names = [function.signature.name for function in read_meta_graph(version).graph_def.library.function]
    assert sum("__inference_estimate_" in name for name in names) == 1, names
    assert sum("__inference__refined_" in name for name in names) == 1, names


@pytest.mark.parametrize(("batch", "num_snapshots"), [(1, 64), (3, 20)])
def test_batch_and_snapshots_are_free(model, inputs, batch: int, num_snapshots: int) -> None:
    """L is dynamic; a strong source is also found with fewer snapshots."""
    fewer = {name: value[:batch] for name, value in inputs.items()}
    for name in ("snapshots", "ris_codes"):
        fewer[name] = fewer[name][:, :num_snapshots]
    outputs = call(model, "serving_default", fewer)
    for name, (dtype, shape) in SOURCE_OUTPUTS.items():
        assert outputs[name].dtype == dtype.as_numpy_dtype
        assert outputs[name].shape == (batch, *shape[1:])
    assert (outputs["num_sources"] > 0).all()


def test_used_slots_are_finite_and_unused_ones_nan(model, inputs) -> None:
    outputs = call(model, "serving_default", inputs)
    used = np.arange(K_MAX) < outputs["num_sources"][:, None]
    assert used.any() and not used.all()
    np.testing.assert_array_equal(outputs["num_paths"] > 0, used)
    for name in SOURCE_OUTPUTS.keys() - {"num_sources", "num_paths"}:
        finite = np.isfinite(outputs[name]).reshape(*used.shape, -1)
        np.testing.assert_array_equal(finite, np.broadcast_to(used[..., None], finite.shape), err_msg=name)
        assert np.isnan(outputs[name][~used]).all()


def test_localize_real_answers_as_serving_default(model, inputs) -> None:
    parts = {
        name: np.stack([value.real, value.imag], axis=-1) if np.iscomplexobj(value) else value
        for name, value in inputs.items()
    }
    real, default = call(model, "localize_real", parts), call(model, "serving_default", inputs)
    assert real.keys() == default.keys()
    assert default["num_sources"].sum() > 0
    for name, value in default.items():
        np.testing.assert_allclose(real[name], value, rtol=1e-4, atol=1e-4, err_msg=name)


def test_covariance_is_hermitian_positive_at_trace_n(covariance: np.ndarray) -> None:
    np.testing.assert_allclose(covariance, covariance.conj().swapaxes(1, 2), atol=1e-5)
    np.testing.assert_allclose(np.trace(covariance, axis1=1, axis2=2).real, ELEMENTS, rtol=1e-4)
    eigenvalues = np.linalg.eigvalsh(covariance.astype(np.complex128))
    assert eigenvalues.min() > 0
    # At most K_max atoms and a spare one above a constant noise floor.
    np.testing.assert_allclose(eigenvalues[:, : -(K_MAX + 1)].max(axis=1), eigenvalues.min(axis=1), rtol=0.05)


def test_spectrum_lies_on_the_grid_documented(spectrum: dict[str, np.ndarray], tiny_localizer: Localizer) -> None:
    """Cell centres, uniform in the sines of the angles and in inverse range over the field of view."""
    view, shape = FieldOfView(), tiny_localizer.config.spectrum_grid.shape
    assert spectrum["spectrum"].shape == (4, *shape)

    def centres(low: float, high: float, cells: int) -> np.ndarray:
        return low + (high - low) * (np.arange(cells) + 0.5) / cells

    azimuth, elevation, inverse_range = (
        np.sin(np.radians(spectrum["azimuth_deg"])),
        np.sin(np.radians(spectrum["elevation_deg"])),
        1 / spectrum["range_m"],
    )
    np.testing.assert_allclose(azimuth, centres(*np.sin(np.radians(view.azimuth_deg)), shape[0]), atol=1e-5)
    np.testing.assert_allclose(elevation, centres(*np.sin(np.radians(view.elevation_deg)), shape[1]), atol=1e-5)
    np.testing.assert_allclose(inverse_range, centres(1 / view.range_m[1], 1 / view.range_m[0], shape[2]), rtol=1e-5)


def test_spectrum_is_mvdr_of_the_shrunk_covariance(spectrum, covariance: np.ndarray) -> None:
    """P = 1 / (a^H R_eff^-1 a) with the table of docs/conventions.md: 20 dB and L = 64 give alpha = 0.02 * 0.5."""
    rng = np.random.default_rng(0)
    cells = rng.integers(0, spectrum["spectrum"][0].shape, size=(20, 3))
    axes = [np.radians(spectrum["azimuth_deg"]), np.radians(spectrum["elevation_deg"]), spectrum["range_m"]]
    points = [[axis[cell] for axis, cell in zip(axes, row, strict=True)] for row in cells]
    vectors = np.array([steering_vector(*point, RISArray()) for point in points])
    assert (spectrum["spectrum"] > 0).all()
    for scene, predicted in enumerate(covariance.astype(np.complex128)):
        effective = 0.99 * predicted + 0.01 * np.eye(ELEMENTS)
        on_grid = spectrum["spectrum"][scene][tuple(cells.T)]
        np.testing.assert_allclose(on_grid, mvdr_reference(effective, vectors), rtol=5e-3)


# Versions


def versions_in(folder: Path) -> list[int]:
    """Folder names that a server takes for versions."""
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())


@pytest.mark.extended
def test_a_killed_export_is_invisible_and_the_next_one_serves(
    tmp_path: Path, version: Path, tiny_localizer: Localizer
) -> None:
    folder, backbone = tmp_path / MODEL_NAME, tmp_path / "backbone.keras"
    shutil.copytree(version, folder / version.name)
    tiny_localizer.weights.save(backbone)
    options = ["--model-base-path", folder, "--backbone", backbone, "--log-dir", tmp_path / "logs"]
    killed_stage("pipeline.export.exporting:check_no_jit", 1, "export", *options)  # before warm-up and renaming
    assert versions_in(folder) == [int(version.name)]
    assert list(folder.glob("staging-*"))
    served = ModelManager(ManagerConfig(), load_servable, lambda: None)
    served.reload(single_model(MODEL_NAME, folder))
    assert set(served.statuses(MODEL_NAME)) == {int(version.name)}
    served.stop()
    new = export_localizer(tiny_localizer, folder, warmup_batch_sizes=())
    assert versions_in(folder) == [int(version.name), int(new.name)]
    served = ModelManager(ManagerConfig(), load_servable, lambda: None)
    served.reload(single_model(MODEL_NAME, folder))
    assert set(served.statuses(MODEL_NAME)) == {int(new.name)}
    served.stop()


def test_an_existing_version_is_never_overwritten(
    tmp_path: Path, tiny_localizer: Localizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "time", SimpleNamespace(time=lambda: 1_700_000_000.9))
    (tmp_path / "1700000000").mkdir()
    with pytest.raises(ValueError, match="expected a new version, got an existing one"):
        export_localizer(tiny_localizer, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["1700000000"]
    assert not any(any(path.iterdir()) for path in tmp_path.iterdir())


def test_the_same_weights_for_another_installation() -> None:
    """Moved to the predecessor's Fresnel surface, the weights stay and R_pred follows that surface's scenes."""
    shape = dataclasses.replace(TINY, refinement=RefinementConfig(steps=10, additions=0))
    backbone, config = Backbone(Scenario(), shape), CONFIGS["l64_m64_legacy"]
    backbone.corrections[0].readout.kernel.assign(0.01 * np.ones_like(backbone.corrections[0].readout.kernel))
    moved = moved_to(LocalizerWeights(backbone), config.scenario).backbone
    assert (moved.scenario, moved.config) == (config.scenario, backbone.config)
    for one, other in zip(moved.trainable_variables, backbone.trainable_variables, strict=True):
        np.testing.assert_array_equal(one, other)
    scenario = dataclasses.replace(config.scenario, max_sources=1)
    batch = batch_of(6, dataclasses.replace(config, snr_db=(30.0, 30.0), scenario=scenario))
    sources = zip(*(batch[name][:, 0] for name in ("azimuth", "elevation", "range_m")), strict=True)
    steering = np.array([steering_vector(*source, scenario.array) for source in sources])

    def share(estimator: Backbone) -> np.ndarray:
        """Share of tr R_pred along the steering vector of each scene's source."""
        predicted = estimator(inputs_of(batch)).numpy()
        along = np.einsum("bn,bnm,bm->b", steering.conj(), predicted, steering).real
        return along / np.trace(predicted, axis1=1, axis2=2).real

    assert share(moved).min() > 0.99
    assert share(backbone).mean() < 0.9


# Command line


def foreign(path: Path) -> None:
    keras.Sequential([keras.Input([2]), keras.layers.Dense(1)]).save(path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "backbone.keras"),
        (lambda path: path.write_bytes(b"PK\x03\x04 cut short"), "backbone.keras"),
        (foreign, "backbone.keras: expected a LocalizerWeights, got Sequential"),
    ],
    ids=["absent", "truncated", "foreign"],
)
def test_a_wrong_backbone_is_named_in_one_line(tmp_path: Path, refused, write, message: str) -> None:
    backbone, folder = tmp_path / "backbone.keras", tmp_path / MODEL_NAME
    write(backbone)
    assert message in refused("export", "--model-base-path", folder, "--backbone", backbone)
    assert not folder.exists()
