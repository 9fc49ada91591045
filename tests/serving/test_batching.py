"""Batching: merging, padding, splitting and refusals, with a real model in this process and with a server."""

import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from pathlib import Path

import grpc
import numpy as np
import pytest

from serving.model_server import main
from serving.server.batching import BatchingConfig, BatchScheduler, batching_config
from serving.server.calls import Call, ServingError
from serving.server.metrics import Metrics
from serving.server.servable import load_servable
from serving.server.text_configs import read_text_proto
from serving.server_process import wait_until
from tests.serving.in_process import in_process_server
from tests.serving.servers import PATIENCE_S, predict_request, refusal, stubs


class Model:
    """The small model; it records the shapes of its batches and can be blocked."""

    def __init__(self, directory: Path) -> None:
        self.servable = load_servable(directory, 2)
        self.shapes: list[tuple[int, ...]] = []
        self.hold = threading.Event()
        self.hold.set()

    def run(self, feeds, fetches, call) -> list[np.ndarray]:
        self.shapes.append(next(iter(feeds.values())).shape)
        assert self.hold.wait(PATIENCE_S)
        return self.servable.run(feeds, fetches, call)

    def names(self, signature: str, output: str) -> tuple[list[str], str]:
        """Returns the tensor names of the inputs, ordered by alias, and of an output."""
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


def waiting(scheduler: BatchScheduler) -> int:
    """Returns the number of requests in its queues."""
    return sum(len(batch.tasks) for queue in list(scheduler._queues.values()) for batch in list(queue))


def together(scheduler: BatchScheduler, model: Model, calls: Sequence[Callable[[], object]]) -> list[object]:
    """Makes calls one after the other, each once the previous one waits or is refused; returns results and errors.

    The first call keeps the only batch thread busy until the last call has been made.
    """
    results: list[object] = [None] * len(calls)

    def call(place: int) -> None:
        try:
            results[place] = calls[place]()
        except ServingError as error:
            results[place] = error

    threads = [threading.Thread(target=call, args=(place,)) for place in range(len(calls))]
    model.hold.clear()
    for place, thread in enumerate(threads):
        before = waiting(scheduler)
        thread.start()
        if place == 0:
            wait_until(lambda: len(model.shapes) == 1)
        else:
            wait_until(lambda before=before, thread=thread: waiting(scheduler) > before or not thread.is_alive())
    model.hold.set()
    for thread in threads:
        thread.join()
    return results


def predicts(scheduler: BatchScheduler, model: Model, *values: Sequence[float]) -> list[Callable[[], np.ndarray]]:
    """Returns a call of `serving_default` for each x."""
    (x,), y = model.names("serving_default", "y")
    return [lambda v=v: scheduler.run(model.run, {x: np.float32(v)}, [y])[0] for v in values]


ONE_THREAD = BatchingConfig(max_batch_size=100, num_batch_threads=1)


def scheduled(**changes: object) -> BatchScheduler:
    return BatchScheduler(dataclasses.replace(ONE_THREAD, **changes), Metrics())


def test_a_full_batch_does_not_wait_for_the_timeout(model: Model) -> None:
    scheduler = scheduled(max_batch_size=4, batch_timeout_s=3600.0)
    with futures.ThreadPoolExecutor(3) as pool:
        calls = predicts(scheduler, model, [2.0], [4.0, 6.0], [8.0])
        found = [call.result() for call in [pool.submit(call) for call in calls]]
    assert [value.tolist() for value in found] == [[3.0], [4.0, 5.0], [6.0]]
    assert model.shapes == [(4,)]


def test_a_batch_waits_no_longer_than_the_timeout(model: Model) -> None:
    (call,) = predicts(scheduled(batch_timeout_s=0.05), model, [2.0])
    assert call().tolist() == [3.0]
    assert model.shapes == [(1,)]


def test_requests_that_come_while_one_runs_run_together(model: Model) -> None:
    scheduler = scheduled()
    found = together(scheduler, model, predicts(scheduler, model, [0.0], [2.0], [4.0, 6.0]))
    assert [value.tolist() for value in found] == [[2.0], [3.0], [4.0, 5.0]]
    assert model.shapes == [(1,), (3,)]


def test_a_request_that_does_not_fit_starts_the_next_batch(model: Model) -> None:
    scheduler = scheduled(max_batch_size=3)
    found = together(scheduler, model, predicts(scheduler, model, [0.0], [2.0, 2.0], [4.0, 4.0], [6.0]))
    assert [value.tolist() for value in found] == [[2.0], [3.0, 3.0], [4.0, 4.0], [5.0]]
    assert model.shapes == [(1,), (2,), (3,)]


def test_batches_are_padded_to_an_allowed_size(model: Model) -> None:
    config = BatchingConfig(max_batch_size=8, num_batch_threads=1, allowed_batch_sizes=(2, 4, 8))
    metrics = Metrics()
    scheduler = BatchScheduler(config, metrics)
    found = together(scheduler, model, predicts(scheduler, model, [0.0], [2.0], [4.0, 6.0]))
    assert [value.tolist() for value in found] == [[2.0], [3.0], [4.0, 5.0]]
    assert model.shapes == [(2,), (4,)]
    assert ':batching_session:processed_batch_size_bucket{le="4"} 2' in metrics.page()
    assert ':batching_session:processed_batch_size_bucket{le="2"} 1' in metrics.page()


def totals(scheduler: BatchScheduler, model: Model, *values: object) -> list[Callable[[], list[float]]]:
    (x,), total = model.names("total", "total")
    return [lambda v=v: scheduler.run(model.run, {x: np.float32(v)}, [total])[0].tolist() for v in values]


def test_other_shapes_and_dtypes_go_into_batches_of_their_own(model: Model) -> None:
    scheduler = scheduled()
    found = together(scheduler, model, totals(scheduler, model, [[0]], [[1, 2]], [[3, 4]], [[5, 6, 7]]))
    assert found == [[0.0], [3.0], [7.0], [18.0]]
    assert model.shapes == [(1, 1), (2, 2), (1, 3)]


def sums(scheduler: BatchScheduler, model: Model, *values: float) -> list[Callable[[], list[float]]]:
    (a, b), total = model.names("add", "sum")
    feeds = [{a: np.float32([value]), b: np.float32([1])} for value in values]
    return [lambda fed=fed: scheduler.run(model.run, fed, [total])[0].tolist() for fed in feeds]


@pytest.mark.parametrize(("bad", "runs"), [([], 1), ([0], 11), ([17], 11), ([3, 28], 19), ([6, 7], 11)])
def test_bad_requests_fail_alone_and_are_found_by_halves(model: Model, bad: list[int], runs: int) -> None:
    scheduler = scheduled(max_batch_size=32)
    values = [np.nan if place in bad else float(place) for place in range(32)]
    first, *found = together(scheduler, model, sums(scheduler, model, 0.0, *values))
    assert first == [1.0]
    for place, value in enumerate(found):
        if place in bad:
            assert isinstance(value, ServingError)
            assert value.message.startswith("a: expected finite numbers")
        else:
            assert value == [place + 1.0]
    assert len(model.shapes) == 1 + runs


def test_queues_of_two_models_take_turns(loaded: Model, model: Model) -> None:
    """One model has ten batches waiting when the first of the other arrives."""
    scheduler, order = scheduled(max_batch_size=1), []

    def busy(feeds, fetches, call) -> list[np.ndarray]:
        order.append("busy")
        return model.run(feeds, fetches, call)

    def quiet(feeds, fetches, call) -> list[np.ndarray]:
        order.append("quiet")
        return model.run(feeds, fetches, call)

    (x,), y = model.names("serving_default", "y")
    calls = [lambda run=run: scheduler.run(run, {x: np.float32([2.0])}, [y]) for run in [busy] * 10 + [quiet] * 2]
    together(scheduler, model, calls)
    assert order == ["busy"] * 2 + ["quiet", "busy", "quiet"] + ["busy"] * 7


def test_a_full_queue_is_unavailable(model: Model) -> None:
    scheduler = scheduled(max_batch_size=1, max_enqueued_batches=2)
    found = together(scheduler, model, predicts(scheduler, model, *[[2.0]] * 5))
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


@pytest.mark.parametrize("ends", ["in time", "at a full queue"])
def test_parts_of_a_request_that_has_failed_are_not_run(model: Model, ends: str) -> None:
    scheduler = scheduled(max_batch_size=10, max_execution_batch_size=1, max_enqueued_batches=2)
    rows, call = ([2.0, 4.0], Call(0.1)) if ends == "in time" else ([2.0, 4.0, 6.0], Call(PATIENCE_S))
    (x,), y = model.names("serving_default", "y")

    with futures.ThreadPoolExecutor(1) as pool:
        model.hold.clear()
        (first,) = [pool.submit(call) for call in predicts(scheduler, model, [0.0])]
        wait_until(lambda: len(model.shapes) == 1)
        with pytest.raises(ServingError) as error:
            scheduler.run(model.run, {x: np.float32(rows)}, [y], call)
        assert error.value.code.name == ("DEADLINE_EXCEEDED" if ends == "in time" else "UNAVAILABLE")
        model.hold.set()
        assert first.result().tolist() == [2.0]
    wait_until(lambda: not scheduler._queues)
    assert predicts(scheduler, model, [8.0])[0]().tolist() == [6.0]  # after whatever had waited
    assert model.shapes == [(1,), (1,)]


# The file


def test_the_file_says_everything(tmp_path: Path) -> None:
    file = tmp_path / "batching"
    file.write_text(
        "max_batch_size { value: 8 } batch_timeout_micros { value: 2500 } max_enqueued_batches { value: 7 } "
        "num_batch_threads { value: 3 } thread_pool_name { value: 'pool' } allowed_batch_sizes: 4 "
        "allowed_batch_sizes: 8 enable_large_batch_splitting { value: true } "
        "max_execution_batch_size { value: 4 }"
    )
    expected = BatchingConfig(8, 0.0025, 7, 3, "pool", (4, 8), 4)
    assert batching_config(read_text_proto(file, "BatchingParameters")) == expected
    file.write_text("")
    assert batching_config(read_text_proto(file, "BatchingParameters")) == BatchingConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch_size: 8", "Error parsing text-format tensorflow.serving.BatchingParameters: "),
        ("max_batchsize { value: 8 }", "Error parsing text-format tensorflow.serving.BatchingParameters: "),
        ("max_batch_size { value: 0 }", "max_batch_size must be positive; was 0"),
        ("pad_variable_length_inputs: true", "pad_variable_length_inputs is not supported"),
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
    with in_process_server(f"--model_base_path={half_plus}", *batching) as running:

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
