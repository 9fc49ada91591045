"""Exports the whole inference path as a versioned SavedModel for TF Serving."""

import math
import os
import shutil
import time
from collections.abc import Sequence, Set
from pathlib import Path

import keras
import tensorflow as tf
from tensorflow.core.framework.function_pb2 import FunctionDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow.types.experimental import ConcreteFunction

from models.artifacts import load_refiner, load_weights, moved_to, with_effort
from models.localizer import Localizer
from models.physics.installation import load_installation
from pipeline.common.artifacts import Fingerprint, difference, fingerprint, new_record, now, read_manifest
from pipeline.common.records import write_json
from pipeline.export.calibrated import calibrated, uncalibrated
from pipeline.export.options import WARMUP_BATCH_SIZES, ExportOptions
from pipeline.export.warmup import check_batch_sizes, write_warmup_requests
from pipeline.release.versions import EXPORT_FILE, model_digest, sync, versions_in
from pipeline.scenes.surfaces import check_surface, surface_fingerprint
from serving.client.calibration import Calibration, read_calibration
from tfds_shards.scene_sets import scene_set

SIGNATURES = ("serving_default", "localize_real", "covariance", "spectrum")
"""Signatures that take measurements. A further signature, `surface`, identifies the surface of the model."""
WARMUP_SIGNATURES = ("serving_default", "localize_real")
"""Signatures whose first request must not wait. The others are for inspection, and each would delay the start of a
server by seconds."""
_MUST_COMPILE = "_XlaMustCompile"


def _frozen(localizer: Localizer) -> keras.StatelessScope:
    """A scope in which the weights are constants. A model without variables is smaller and starts faster."""
    variables = list(localizer.weights.variables)
    if localizer.refiner is not None:
        variables += localizer.refiner.variables
    return keras.StatelessScope([(variable, variable.numpy()) for variable in variables])


def _signatures(localizer: Localizer, calibration: Calibration | None) -> dict[str, ConcreteFunction]:
    """All signatures as concrete functions without variables."""
    localizer = type(localizer)(localizer.weights, localizer.config, localizer.refiner)  # no graph is traced yet
    corrected = uncalibrated if calibration is None else calibrated(calibration)
    specs = localizer.input_specs()
    real_specs = {
        name: tf.TensorSpec([*spec.shape, 2], tf.float32, name) if spec.dtype.is_complex else spec
        for name, spec in specs.items()
    }

    def serving_default(snapshots, ris_codes, channel, snr_db):
        return localizer.localize(snapshots, *corrected(ris_codes, channel), snr_db)

    def localize_real(snapshots, ris_codes, channel, snr_db):
        parts = (tf.complex(part[..., 0], part[..., 1]) for part in (snapshots, ris_codes, channel))
        return traced["serving_default"](*parts, snr_db)

    def predict(snapshots, ris_codes, channel, snr_db):
        return localizer.predicted(snapshots, *corrected(ris_codes, channel), snr_db)

    def covariance(snapshots, ris_codes, channel, snr_db):
        predicted = traced["predict"](snapshots, ris_codes, channel, snr_db)
        scale = tf.cast(tf.shape(predicted.factor)[-2], tf.float32) / predicted.trace()
        return {"covariance": predicted.dense() * tf.cast(scale, tf.complex64)[:, None, None]}

    def spectrum(snapshots, ris_codes, channel, snr_db):
        predicted = traced["predict"](snapshots, ris_codes, channel, snr_db)
        volume = localizer.mvdr(localizer.effective(predicted, snr_db, tf.shape(snapshots)[1]))
        dictionary, shape, degrees = localizer.mvdr.dictionary, localizer.mvdr.grid.shape, math.degrees(1.0)
        axes = {
            "azimuth_deg": degrees * tf.reshape(dictionary.azimuth, shape)[:, 0, 0],
            "elevation_deg": degrees * tf.reshape(dictionary.elevation, shape)[0, :, 0],
            "range_m": 1.0 / tf.reshape(dictionary.inverse_range, shape)[0, 0, :],
        }
        # One copy of the grid per scene, because TF Serving splits every output along its first axis.
        batch = tf.shape(snapshots)[0]
        return {"spectrum": volume} | {name: tf.tile(axis[None], [batch, 1]) for name, axis in axes.items()}

    digest = list(bytes.fromhex(surface_fingerprint(localizer.scenario.array)))

    def surface(snr_db):
        """The surface of the model, and whether a calibration is inside; a client with a calibration checks both."""
        return {
            "surface_sha256": tf.tile(tf.constant([digest], tf.uint8), [tf.size(snr_db), 1]),
            "calibrated": tf.fill(tf.shape(snr_db), calibration is not None),
        }

    inputs = {"localize_real": real_specs, "surface": {"snr_db": specs["snr_db"]}}
    traced: dict[str, ConcreteFunction] = {}
    with _frozen(localizer):
        for function in (serving_default, predict, localize_real, covariance, spectrum, surface):
            name = function.__name__
            graph = tf.function(function, autograph=False)
            traced[name] = graph.get_concrete_function(*inputs.get(name, specs).values())
    del traced["predict"]
    return traced


def simplify(meta_graph: tf.compat.v1.MetaGraphDef) -> None:
    """Removes nodes of each function that compute what another node computes, in place.

    TensorFlow creates one node for every use of a number or shape, and copies of inputs and outputs. Two nodes are
    equal if operation, inputs and attributes are. Nodes with a state stay. So do lists of tensors, which may be changed
    in place, and nodes that others only wait for.
    """
    stateful = {op.name for op in meta_graph.meta_info_def.stripped_op_list.op if op.is_stateful}
    for function in meta_graph.graph_def.library.function:
        while _remove_equal_nodes(function, stateful):
            pass


def _remove_equal_nodes(function: FunctionDef, stateful: Set[str]) -> bool:
    """One pass of `simplify` over a function. Returns whether it removed a node."""
    awaited = {name[1:] for node in function.node_def for name in node.input if name.startswith("^")}
    awaited |= set(function.control_ret.values())
    first: dict[tuple, str] = {}
    equal: dict[str, str] = {}  # removed nodes, and the node that each is equal to
    copies: dict[str, str] = {}  # removed nodes, and the tensor that each copies

    def replaced(tensor: str) -> str:
        """The name of a tensor (NODE:OUTPUT:NUMBER, or an argument) or of an awaited node (^NODE)."""
        node, *output = tensor.split(":")
        if node in copies:
            return replaced(copies[node])
        return replaced(":".join([equal[node], *output])) if node in equal else tensor

    for node in function.node_def:
        if node.name in awaited or node.op in stateful or node.op.startswith("TensorList"):
            continue
        if node.op == "Identity" and len(node.input) == 1:
            copies[node.name] = node.input[0]
            continue
        attributes = ((name, node.attr[name].SerializeToString(deterministic=True)) for name in node.attr)
        other = first.setdefault((node.op, node.device, *node.input, *sorted(attributes)), node.name)
        if other != node.name:
            equal[node.name] = other
    kept = [node for node in function.node_def if node.name not in equal and node.name not in copies]
    removed = len(kept) < len(function.node_def)
    for node in kept:
        node.input[:] = [replaced(name) for name in node.input]
    for output, name in list(function.ret.items()):
        function.ret[output] = replaced(name)
    del function.node_def[:]
    function.node_def.extend(kept)
    return removed


def _simplified(version: Path) -> tf.compat.v1.MetaGraphDef:
    """Simplifies the graph in the file of a version; returns its meta graph."""
    path = version / tf.saved_model.SAVED_MODEL_FILENAME_PB
    saved = SavedModel.FromString(path.read_bytes())
    (meta_graph,) = saved.meta_graphs
    simplify(meta_graph)
    path.write_bytes(saved.SerializeToString(deterministic=True))
    return meta_graph


def check_no_jit(graph: tf.compat.v1.GraphDef) -> None:
    """Checks that no function of a graph must be compiled by XLA. TF Serving disables XLA on CPUs, so such a
    function would fail there, but not in this process."""
    functions = graph.library.function
    nodes = [*graph.node, *(node for function in functions for node in function.node_def)]
    compiled = {function.signature.name for function in functions if function.attr[_MUST_COMPILE].b}
    compiled |= {node.name for node in nodes if _MUST_COMPILE in node.attr and node.attr[_MUST_COMPILE].b}
    if compiled:
        raise ValueError(
            f"export: expected no function of jit_compile=True, which TF Serving cannot run, got {sorted(compiled)}"
        )


def expected_fingerprint(options: ExportOptions) -> Fingerprint:
    """What decides an exported model; ValueError if the weights do not exist."""
    return fingerprint("export", options, left_out=("model_base_path", "log_dir", "hyperparameters"))


def exported(options: ExportOptions) -> Path | None:
    """The latest version that was exported with the same options, inputs and code; None if there is none."""
    wanted = expected_fingerprint(options)
    for version in reversed(versions_in(options.model_base_path)):
        manifest = read_manifest(version.path / EXPORT_FILE.parent)
        same = manifest is not None and difference(manifest["fingerprint"], wanted) is None
        if manifest is not None and same and model_digest(version.path) == manifest["outputs"]["model"]["sha256"]:
            return version.path
    return None


def export_localizer(
    localizer: Localizer,
    model_base_path: Path,
    warmup_batch_sizes: Sequence[int] = WARMUP_BATCH_SIZES,
    calibration: Calibration | None = None,
    wanted: Fingerprint | None = None,
) -> Path:
    """Writes a new version and returns its folder. It is written to a staging folder, which no server takes for a
    version, and then renamed.

    Args:
      localizer: the model to export.
      model_base_path: folder of the versions; its name becomes the model name in the warm-up requests.
      warmup_batch_sizes: number of scenes in each request that a server replays before it serves the version.
      calibration: calibration to apply to the inputs inside the model; None for no calibration.
      wanted: fingerprint to record in the version; None records nothing.
    """
    check_batch_sizes(warmup_batch_sizes, len(WARMUP_SIGNATURES))
    if calibration is not None:
        check_surface(calibration, localizer.scenario.array)
    version = model_base_path / str(int(time.time()))
    if version.exists():
        raise ValueError(f"{version}: expected a new version, got an existing one; wait a second and export again")
    model_base_path.mkdir(parents=True, exist_ok=True)
    staging = model_base_path / f"staging-{version.name}-{os.getpid()}"
    try:
        tf.saved_model.save(tf.Module(), str(staging), signatures=_signatures(localizer, calibration))
        meta_graph = _simplified(staging)
        check_no_jit(meta_graph.graph_def)
        signatures = {name: meta_graph.signature_def[name] for name in WARMUP_SIGNATURES}
        name = model_base_path.resolve().name
        channel = None if calibration is None else calibration.channel
        write_warmup_requests(staging, signatures, name, localizer.scenario, warmup_batch_sizes, channel)
        if wanted is not None:
            outputs = {"model": {"sha256": model_digest(staging)}}
            write_json(staging / EXPORT_FILE, new_record(wanted) | {"finished": now(), "outputs": outputs})
        sync(staging)
        os.rename(staging, version)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return version


def export(options: ExportOptions) -> Path:
    """Loads the weights and exports a new version; returns its folder."""
    weights = load_weights(options.weights)
    if options.installation is not None:
        weights = moved_to(weights, load_installation(options.installation))
    elif options.config is not None:
        weights = moved_to(weights, scene_set(options.config).config.scenario)
    refiner = load_refiner(options.refiner) if options.refiner is not None else None
    localizer = Localizer(*with_effort(weights, options.localizer, options.effort), refiner)
    calibration = read_calibration(options.calibration) if options.calibration is not None else None
    return export_localizer(
        localizer, options.model_base_path, options.warmup_batch_sizes, calibration, expected_fingerprint(options)
    )
