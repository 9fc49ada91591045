"""`python -m serving.bench`: compares the embedded server with the same SavedModel in this process.

It measures the time of a single scene, the throughput of sixteen clients with batching, the time to the first answer of
a new server, and the memory that a batch takes. Both sides are measured alternately, and medians are compared, because
other work on the machine disturbs the times.
"""

import dataclasses
import functools
import json
import multiprocessing
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
import tyro
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2, prediction_service_pb2_grpc

from models.checked import AtLeast1, stage_options
from serving.client.files import replacing
from serving.server.warmup import WARMUP_FILE
from serving.server_process import server_process
from tfds_shards.inputs import INPUTS, scene_batch
from tfds_shards.simulator import CONFIGS, simulate_scene

_NAME = "ris_localizer"
_BATCHING = """max_batch_size {{ value: {clients} }}
batch_timeout_micros {{ value: 30000 }}
max_enqueued_batches {{ value: 100 }}
num_batch_threads {{ value: 1 }}
"""


@stage_options(frozen=True)
class ServingBenchOptions:
    """Compares a served localizer with the same model in process."""

    model_base_path: Path
    """Folder of exported versions; the latest is measured."""
    config: str = "l64_m64"
    """Data set from which scenes are simulated."""
    repeats: AtLeast1 = 40
    """Runs of a single scene on each side."""
    clients: AtLeast1 = 16
    """Concurrent clients, each with one scene per request."""
    rounds: AtLeast1 = 5
    """Requests of each client in each of five measurements."""
    memory_scenes: AtLeast1 = 32
    """Batch size, in scenes, whose memory is measured."""
    record: Path | None = None
    """JSON file of `python -m pipeline.bench --output` to which the figures are added."""

    def __post_init__(self) -> None:
        if self.config not in CONFIGS:
            raise ValueError(f"--config: expected one of {', '.join(CONFIGS)}, got {self.config!r}")
        if self.record is not None and not self.record.is_file():
            raise ValueError(f"--record: expected a record of `python -m pipeline.bench`, found no file {self.record}")

    def latest(self) -> Path:
        """The folder of the latest version. Raises ValueError if there is none."""
        versions = [path for path in self.model_base_path.glob("*") if path.name.isdecimal()]
        if not versions:
            raise ValueError(f"--model-base-path: expected a folder of versions, got {self.model_base_path}")
        return max(versions, key=lambda path: int(path.name))


@dataclasses.dataclass(frozen=True)
class ServedFigures:
    """The measured figures: medians, and ratios of served to in-process figures."""

    one_scene_ms: float
    one_scene_served_ms: float
    one_scene_ratio: float
    clients: int
    scenes_per_s: float
    scenes_per_s_served: float
    clients_ratio: float
    start_s: float
    first_answer_s: float
    warm_start_s: float
    warm_first_answer_s: float
    memory_scenes: int
    peak_memory_mib: float

    def lines(self) -> tuple[str, ...]:
        """Returns the figures as text."""
        return (
            f"one scene: {self.one_scene_ms:.1f} ms in process, {self.one_scene_served_ms:.1f} ms served, "
            f"ratio {self.one_scene_ratio:.3f}",
            f"{self.clients} clients: {self.scenes_per_s:.1f} scenes/s in process at best, "
            f"{self.scenes_per_s_served:.1f} served in batches, ratio {self.clients_ratio:.3f}",
            f"without warm-up: {self.start_s:.1f} s from start to first answer, "
            f"of which {self.first_answer_s:.2f} s for the answer",
            f"with warm-up: {self.warm_start_s:.1f} s from start to first answer, "
            f"of which {self.warm_first_answer_s:.2f} s for the answer",
            f"a process with the model alone: {self.peak_memory_mib:.0f} MiB at most, "
            f"in batches of {self.memory_scenes}",
        )


def bench_inputs(config_name: str, count: int) -> dict[str, np.ndarray]:
    """Returns the inputs of `serving_default` for `count` scenes of the validation split."""
    config = CONFIGS[config_name]
    batch = scene_batch([simulate_scene(config, "validation", number) for number in range(count)], config.phase_bits)
    return {name: batch[name] for name in INPUTS}


def bench_requests(inputs: dict[str, np.ndarray]) -> list[predict_pb2.PredictRequest]:
    """Returns one Predict request per scene."""
    scenes = ({name: value[n : n + 1] for name, value in inputs.items()} for n in range(len(inputs["snr_db"])))
    return [
        predict_pb2.PredictRequest(
            model_spec={"name": _NAME}, inputs={name: tf.make_tensor_proto(value) for name, value in scene.items()}
        )
        for scene in scenes
    ]


class InProcess:
    """The SavedModel in the folder `version`, loaded in this process, and inputs of `serving_default` for it."""

    def __init__(self, version: Path, inputs: dict[str, np.ndarray]) -> None:
        self._model = tf.saved_model.load(str(version))
        self._tensors = {name: tf.constant(value) for name, value in inputs.items()}

    def run(self, scenes: int) -> None:
        """Runs the first `scenes` scenes as one batch and fetches the outputs."""
        batch = {name: value[:scenes] for name, value in self._tensors.items()}
        for value in self._model.signatures["serving_default"](**batch).values():
            value.numpy()


def seconds(action: Callable[[], object]) -> float:
    """Returns the wall time of a call, seconds."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def single_scene(local: InProcess, request: predict_pb2.PredictRequest, target: str, repeats: int) -> dict[str, float]:
    """Returns the median time of a scene on each side, milliseconds, measured alternately."""
    with grpc.insecure_channel(target) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        sides = {"in process": lambda: local.run(1), "server": lambda: stub.Predict(request)}
        for action in list(sides.values()) * 3:
            action()
        times = [{name: seconds(action) for name, action in sides.items()} for _ in range(repeats)]
    return {name: 1e3 * statistics.median(entry[name] for entry in times) for name in sides}


def _clients(target: str, requests: Sequence[predict_pb2.PredictRequest], rounds: int) -> float:
    """Returns the scenes per second of concurrent clients that send `rounds` requests each."""

    def client(request: predict_pb2.PredictRequest) -> None:
        with grpc.insecure_channel(target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            for _ in range(rounds):
                stub.Predict(request)

    with futures.ThreadPoolExecutor(len(requests)) as pool:
        return rounds * len(requests) / seconds(lambda: list(pool.map(client, requests)))


def throughput(
    local: InProcess, requests: list[predict_pb2.PredictRequest], target: str, rounds: int, turns: int = 5
) -> dict[str, float]:
    """Returns median scenes per second of the best batch size in process and of concurrent clients, and their ratio.

    The ratio is the median over alternate turns, which a temporary load on the machine disturbs least.
    """

    def local_rate(size: int) -> float:
        return size / statistics.median(seconds(functools.partial(local.run, size)) for _ in range(3))

    sizes = sorted({max(1, len(requests) // 4), max(1, len(requests) // 2), len(requests)})
    for size in sizes:
        local.run(size)
    best = max(sizes, key=local_rate)
    _clients(target, requests, 2)
    rates = [(local_rate(best), _clients(target, requests, rounds)) for _ in range(turns)]
    columns = zip(*((mine, served, served / mine) for mine, served in rates), strict=True)
    return dict(zip(("in process", "server", "ratio"), map(statistics.median, columns), strict=True))


def first_answer(model_base_path: Path, request: predict_pb2.PredictRequest) -> dict[str, float]:
    """Returns the seconds from the start of a server to its first answer, and the seconds of that request."""
    started = time.perf_counter()
    with (
        server_process(f"--model_name={_NAME}", f"--model_base_path={model_base_path}") as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answer = seconds(lambda: stub.Predict(request, wait_for_ready=True))
        return {"start": time.perf_counter() - started, "answer": answer}


def peak_memory_mib(version: Path, config_name: str, scenes: int) -> float:
    """Returns the peak memory of this process after a few batches, MiB. Call it in a new process."""
    local = InProcess(version, bench_inputs(config_name, scenes))
    for _ in range(3):
        local.run(scenes)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def _copy(version: Path, folder: Path, warmup: predict_pb2.PredictRequest | None) -> Path:
    """Copies the version into `folder`, with `warmup` as its only warm-up request or with none."""
    copy = shutil.copytree(version, folder / version.name)
    (copy / WARMUP_FILE).unlink(missing_ok=True)
    if warmup is not None:
        (copy / WARMUP_FILE).parent.mkdir(exist_ok=True)
        with tf.io.TFRecordWriter(str(copy / WARMUP_FILE)) as writer:
            writer.write(prediction_log_pb2.PredictionLog(predict_log={"request": warmup}).SerializeToString())
    return folder


def bench(options: ServingBenchOptions) -> ServedFigures:
    """Runs all measurements."""
    version = options.latest()
    inputs = bench_inputs(options.config, options.clients)
    requests = bench_requests(inputs)
    with futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        memory = pool.submit(peak_memory_mib, version, options.config, options.memory_scenes).result()
    local = InProcess(version, inputs)
    with tempfile.TemporaryDirectory() as temporary:
        batching = Path(temporary) / "batching.config"
        batching.write_text(_BATCHING.format(clients=options.clients))
        folder = f"--model_base_path={options.model_base_path.absolute()}"
        with server_process(f"--model_name={_NAME}", folder) as server:
            one = single_scene(local, requests[0], server.target, options.repeats)
        flags = ("--enable_batching", f"--batching_parameters_file={batching}")
        with server_process(f"--model_name={_NAME}", folder, *flags) as server:
            many = throughput(local, requests, server.target, options.rounds)
        cold = first_answer(_copy(version, Path(temporary) / "without", None), requests[0])
        warm = first_answer(_copy(version, Path(temporary) / "with", requests[0]), requests[0])
    return ServedFigures(
        one_scene_ms=one["in process"],
        one_scene_served_ms=one["server"],
        one_scene_ratio=one["server"] / one["in process"],
        clients=options.clients,
        scenes_per_s=many["in process"],
        scenes_per_s_served=many["server"],
        clients_ratio=many["ratio"],
        start_s=cold["start"],
        first_answer_s=cold["answer"],
        warm_start_s=warm["start"],
        warm_first_answer_s=warm["answer"],
        memory_scenes=options.memory_scenes,
        peak_memory_mib=memory,
    )


def add_to_record(record: Path, figures: ServedFigures) -> None:
    """Adds the figures to a JSON file of `python -m pipeline.bench`; the file is replaced atomically."""
    found = json.loads(record.read_text()) | {"served": dataclasses.asdict(figures)}
    with replacing(record) as beside:
        beside.write_text(json.dumps(found, indent=2) + "\n")


def main() -> None:
    """Command line entry point."""
    try:
        options = tyro.cli(ServingBenchOptions, prog="python -m serving.bench")
        figures = bench(options)
        print("\n".join(figures.lines()))
        if options.record is not None:
            add_to_record(options.record, figures)
    except (ValueError, OSError, RuntimeError, grpc.RpcError) as error:
        first_line = str(error).strip().partition("\n")[0]
        sys.exit(f"serving.bench: {first_line}")


if __name__ == "__main__":
    main()
