"""Batching: what is merged, padded, split and refused, on a real model in this process, and by a server with a file."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import grpc
import numpy as np
import pytest

from serving.model_server import main
from serving.server.batching import BatchScheduler
from serving.server.batching_config import BatchingConfig, batching_config
from serving.server.errors import ServingError
from serving.server.metrics import Metrics
from serving.server.servable import Servable
from serving.server.text_configs import read_text_proto
from serving.server_process import server_process
from tests.serving.servers import predict_request, refusal, stubs


class Model:
    """The small model, which notes the batches it was given and can be held up."""

    def __init__(self, directory: Path) -> None:
        self.servable = Servable(directory, 2)
        self.shapes: list[tuple[int, ...]] = []
        self.hold = threading.Event()
        self.hold.set()

    def run(self, feeds, fetches) -> list[np.ndarray]:
        self.shapes.append(next(iter(feeds.values())).shape)
        self.hold.wait()
        return self.servable.run(feeds, fetches)

    def names(self, signature: str, output: str) -> tuple[list[str], str]:
        """Tensor names of the inputs, by alias in order, and of an output."""
        found = self.servable.signatures[signature]
        return [found.inputs[alias].name for alias in sorted(found.inputs)], found.outputs[output].name


@pytest.fixture(scope="module")
def loaded(half_plus: Path) -> Model:
    return Model(half_plus / "2")


@pytest.fixture
def model(loaded: Model) -> Iterator[Model]:
    loaded.shapes.clear()
    yield loaded
    loaded.hold.set()


def together(calls: Sequence[Callable[[], object]], pause_s: float = 0.0) -> list[object]:
    """Results of calls made at the same time, errors among them."""
    results: list[object] = [None] * len(calls)

    def call(place: int) -> None:
        try:
            results[place] = calls[place]()
        except ServingError as error:
            results[place] = error

    threads = [threading.Thread(target=call, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
        time.sleep(pause_s)
    for thread in threads:
        thread.join()
    return results


def predicts(scheduler: BatchScheduler, model: Model, *values: Sequence[float]) -> list[Callable[[], np.ndarray]]:
    """A call of `serving_default` for each x."""
    (x,), y = model.names("serving_default", "y")
    return [lambda v=v: scheduler.run(model.run, {x: np.float32(v)}, [y])[0] for v in values]


def test_requests_that_come_together_run_together(model: Model) -> None:
    scheduler = BatchScheduler(BatchingConfig(max_batch_size=4, batch_timeout_s=5.0), Metrics())
    found = together(predicts(scheduler, model, [2.0], [4.0, 6.0], [8.0]))
    assert [value.tolist() for value in found] == [[3.0], [4.0, 5.0], [6.0]]
    assert model.shapes == [(4,)]  # full, so it did not wait for the timeout


def test_a_batch_waits_no_longer_than_the_timeout(model: Model) -> None:
    scheduler = BatchScheduler(BatchingConfig(max_batch_size=100, batch_timeout_s=0.2), Metrics())
    started = time.monotonic()
    found = together(predicts(scheduler, model, [2.0], [4.0]))
    assert 0.2 <= time.monotonic() - started < 2.0
    assert [value.tolist() for value in found] == [[3.0], [4.0]]
    assert model.shapes == [(2,)]


def test_a_request_that_does_not_fit_starts_the_next_batch(model: Model) -> None:
    scheduler = BatchScheduler(BatchingConfig(max_batch_size=3, batch_timeout_s=0.2, num_batch_threads=1), Metrics())
    found = together(predicts(scheduler, model, [2.0, 2.0], [4.0, 4.0], [6.0]), pause_s=0.03)
    assert [value.tolist() for value in found] == [[3.0, 3.0], [4.0, 4.0], [5.0]]
    assert model.shapes == [(2,), (3,)]


def test_batches_are_padded_to_an_allowed_size(model: Model) -> None:
    config = BatchingConfig(max_batch_size=8, batch_timeout_s=0.2, allowed_batch_sizes=(2, 4, 8))
    metrics = Metrics()
    found = together(predicts(BatchScheduler(config, metrics), model, [2.0], [4.0, 6.0]))
    assert [value.tolist() for value in found] == [[3.0], [4.0, 5.0]]
    assert model.shapes == [(4,)]
    assert ':batching_session:processed_batch_size_bucket{le="4"} 1' in metrics.page()
    assert ':batching_session:processed_batch_size_bucket{le="2"} 0' in metrics.page()


def totals(scheduler: BatchScheduler, model: Model, *values: object) -> list[Callable[[], list[float]]]:
    (x,), total = model.names("total", "total")
    return [lambda v=v: scheduler.run(model.run, {x: np.float32(v)}, [total])[0].tolist() for v in values]


def test_other_shapes_and_dtypes_go_into_batches_of_their_own(model: Model) -> None:
    scheduler = BatchScheduler(BatchingConfig(max_batch_size=100, batch_timeout_s=0.2), Metrics())
    found = together(totals(scheduler, model, [[1, 2]], [[3, 4]], [[5, 6, 7]]))
    assert found == [[3.0], [7.0], [18.0]]
    assert sorted(model.shapes) == [(1, 3), (2, 2)]


def test_variable_lengths_are_padded_with_the_first_value_if_asked(model: Model) -> None:
    config = BatchingConfig(max_batch_size=100, batch_timeout_s=0.2, pad_variable_length_inputs=True)
    found = together(totals(BatchScheduler(config, Metrics()), model, [[1, 2]], [[5, 6, 7]]), pause_s=0.02)
    assert found == [[1 + 2 + 1], [18.0]]
    assert model.shapes == [(2, 3)]


def test_a_bad_request_fails_alone(model: Model) -> None:
    scheduler = BatchScheduler(BatchingConfig(max_batch_size=3, batch_timeout_s=5.0), Metrics())
    (a, b), total = model.names("add", "sum")
    calls = [
        lambda value=value: scheduler.run(model.run, {a: np.float32([value]), b: np.float32([1])}, [total])[0]
        for value in (1.0, np.nan, 3.0)
    ]
    first, bad, last = together(calls)
    assert (first.tolist(), last.tolist()) == ([2.0], [4.0])
    assert isinstance(bad, ServingError)
    assert bad.message.startswith("a: expected finite numbers")
    assert model.shapes == [(3,), (1,), (1,), (1,)]


def test_a_full_queue_is_unavailable(model: Model) -> None:
    config = BatchingConfig(max_batch_size=1, max_enqueued_batches=2, num_batch_threads=1)
    scheduler = BatchScheduler(config, Metrics())
    model.hold.clear()
    threading.Timer(1.0, model.hold.set).start()
    found = together(predicts(scheduler, model, *[[2.0]] * 5), pause_s=0.05)
    refused = [error for error in found if isinstance(error, ServingError)]
    assert [error.code for error in refused] == [grpc.StatusCode.UNAVAILABLE] * 2  # one runs, two wait
    assert refused[0].message == (
        "The batch scheduling queue to which this task was submitted is full; currently 2 batches enqueued and "
        "max_enqueued_batches is 2"
    )


@pytest.mark.parametrize(
    ("feeds", "text"),
    [
        ({"x": np.float32([1, 2, 3])}, "Task size 3 is larger than maximum input batch size 2"),
        ({"x": np.float32(1)}, "Batching Run() input tensors must have at least one dimension"),
        ({"x": np.float32([1]), "y": np.float32([1, 2])},
         "Batching Run() input tensors must have equal 0th-dimension size"),
    ],
)  # fmt: skip
def test_requests_that_can_not_be_batched(model: Model, feeds, text: str) -> None:
    scheduler = BatchScheduler(BatchingConfig(max_batch_size=2), Metrics())
    with pytest.raises(ServingError) as error:
        scheduler.run(model.run, feeds, ["y"])
    assert (error.value.code, error.value.message) == (grpc.StatusCode.INVALID_ARGUMENT, text)


@pytest.mark.parametrize(
    ("signature", "output", "text"),
    [
        ("scalar", "total", "Batched output tensor has 0 dimensions"),
        ("total", "size", None),
    ],
)
def test_outputs_need_a_batch_axis(model: Model, signature: str, output: str, text: str | None) -> None:
    scheduler = BatchScheduler(BatchingConfig(max_batch_size=2), Metrics())
    (x,), name = model.names(signature, output)

    def run() -> list[np.ndarray]:
        return scheduler.run(model.run, {x: np.float32([[1, 2]])}, [name])

    if text is None:
        assert run()[0].tolist() == [1]
        return
    with pytest.raises(ServingError) as error:
        run()
    assert (error.value.code, error.value.message) == (grpc.StatusCode.FAILED_PRECONDITION, text)


def test_large_requests_are_split_if_asked(model: Model) -> None:
    config = BatchingConfig(max_batch_size=10, max_execution_batch_size=2, num_batch_threads=1)
    (call,) = predicts(BatchScheduler(config, Metrics()), model, [2.0, 4.0, 6.0, 8.0, 10.0])
    assert call().tolist() == [3.0, 4.0, 5.0, 6.0, 7.0]
    assert [shape[0] for shape in model.shapes] == [2, 2, 1]


# The file


def test_the_file_says_everything(tmp_path: Path) -> None:
    file = tmp_path / "batching"
    file.write_text(
        "max_batch_size { value: 8 } batch_timeout_micros { value: 2500 } max_enqueued_batches { value: 7 } "
        "num_batch_threads { value: 3 } thread_pool_name { value: 'pool' } allowed_batch_sizes: 4 "
        "allowed_batch_sizes: 8 pad_variable_length_inputs: true enable_large_batch_splitting { value: true } "
        "max_execution_batch_size { value: 4 }"
    )
    expected = BatchingConfig(8, 0.0025, 7, 3, "pool", (4, 8), True, 4)
    assert batching_config(read_text_proto(file, "BatchingParameters")) == expected
    file.write_text("")
    assert batching_config(read_text_proto(file, "BatchingParameters")) == BatchingConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch_size: 8", "Error parsing text-format tensorflow.serving.BatchingParameters: "),
        ("max_batchsize { value: 8 }", "Error parsing text-format tensorflow.serving.BatchingParameters: "),
        ("max_batch_size { value: 0 }", "max_batch_size must be positive; was 0"),
        ("num_batch_threads { value: -1 }", "num_batch_threads must be positive; was -1"),
        ("batch_timeout_micros { value: -5 }", "batch_timeout_micros must be non-negative; was -5"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: 4",
         "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 8"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: 9 allowed_batch_sizes: 8",
         "allowed_batch_sizes must be positive and increase; were [9, 8]"),
        ("max_batch_size { value: 8 } enable_large_batch_splitting { value: true } "
         "max_execution_batch_size { value: 9 }", "max_execution_batch_size must be from 1 to max_batch_size; was 9"),
    ],
)  # fmt: skip
def test_files_that_are_refused(half_plus: Path, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "batching").write_text(text)
    flags = ["--port=0", f"--model_base_path={half_plus}", f"--batching_parameters_file={tmp_path / 'batching'}"]
    with pytest.raises(SystemExit) as stopped:
        main([*flags, "--enable_batching"])
    assert message in str(stopped.value.code)
    with pytest.raises(SystemExit) as stopped:
        main(flags)
    assert "--batching_parameters_file is set without setting --enable_batching" in str(stopped.value.code)


def test_a_server_batches_what_its_clients_send(half_plus: Path, tmp_path: Path) -> None:
    (tmp_path / "batching").write_text("max_batch_size { value: 8 } batch_timeout_micros { value: 20000 }")
    wrong: list[object] = []
    batching = ("--enable_batching=true", f"--batching_parameters_file={tmp_path / 'batching'}")
    with server_process(f"--model_base_path={half_plus}", *batching) as running:

        def client(number: int) -> None:
            with stubs(running.target) as (prediction, _):
                for turn in range(10):
                    value = float(100 * number + turn)
                    response = prediction.Predict(predict_request("default", x=np.float32([value])))
                    if list(response.outputs["y"].float_val) != [value / 2 + 2]:
                        wrong.append(response)

        threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        with stubs(running.target) as (prediction, _):
            too_large = predict_request("default", x=np.zeros(9, np.float32))
            expected = (grpc.StatusCode.INVALID_ARGUMENT, "Task size 9 is larger than maximum input batch size 8")
            assert refusal(prediction.Predict, too_large) == expected
