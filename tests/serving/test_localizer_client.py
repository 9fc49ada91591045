"""`LocalizerClient` from Python: what it takes, what it says, whether the model is ready."""

import contextlib
from pathlib import Path

import grpc
import numpy as np
import pytest

from serving.client import LocalizerClient, MeasurementFile, RetryConfig, ServerError, messages, scenes_of
from serving.client.calibration import Calibration
from serving.client.measurement import check_measurement
from serving.client.tensors import array_of
from tests.serving.ports import held_port
from tests.serving.scripted_server import ANTENNAS, ELEMENTS, ScriptedServer, found, outputs_of, refusing
from tests.serving.servers import PATIENCE_S

SCENES = 5
SOURCE = {
    **dict.fromkeys(("azimuth_deg", "elevation_deg", "range_m", "power_db", "score"), 1.0),
    "position_m": [1.0] * 3,
    "position_cov_m2": [[1.0] * 3] * 3,
}


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    shapes = {"snapshots": (SCENES, 4, ANTENNAS), "ris_codes": (4, ELEMENTS), "channel": (ANTENNAS, ELEMENTS)}
    made = {name: (rng.normal(size=shape) + 1j).astype(np.complex64) for name, shape in shapes.items()}
    made["ris_codes"] /= np.abs(made["ris_codes"])
    return {**made, "snr_db": np.arange(SCENES, dtype=np.float32)}


def test_arrays_measurements_and_files_are_localized_alike(arrays, tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", **arrays)
    expected = [{"model_version": 7, "num_sources": 1, "sources": [SOURCE]}] * SCENES
    for measurement in (arrays, check_measurement(arrays), MeasurementFile(tmp_path / "m.npz")):
        with ScriptedServer(found, version=7) as server, LocalizerClient(server.target) as client:
            assert client.localize(measurement, batch_size=2) == expected
            assert [scene.to_dict() for scene in client.locate(measurement, batch_size=2)] == expected
        sent = [array_of(request.inputs["snapshots"], "snapshots") for request in server.requests]
        assert [len(batch) for batch in sent] == 2 * [2, 2, 1]
        np.testing.assert_array_equal(np.concatenate(sent[:3]), arrays["snapshots"])


def test_the_version_that_answers_may_change_between_requests(arrays) -> None:
    with ScriptedServer(found) as server, LocalizerClient(server.target) as client:

        def newer(request, context):
            server.version += 1
            return found(request, context)

        server.answer = newer
        assert [scene["model_version"] for scene in client.localize(arrays, batch_size=2)] == [2, 2, 3, 3, 4]
        answer = client.predict(check_measurement(arrays).inputs(0, 3))
        assert (answer.model_version, len(answer.outputs["score"])) == (5, 3)


def test_other_outputs_are_told_of_the_source_or_the_scene(arrays) -> None:
    """Those with the slots for their second axis are of the sources."""
    more = {
        "refined": np.array([True, False]),
        "residual": np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
        "num_paths": np.array([[2, 0], [3, 0]], np.int32),
        "paths_m": np.zeros((2, 2, 3)),
    }
    first, second = scenes_of(outputs_of(2, **more), 1)
    assert (first["refined"], first["residual"]) == (True, [1.0, 2.0, 3.0])
    assert first.keys() == {"model_version", "num_sources", "refined", "residual", "sources"}
    assert second["sources"] == [{**SOURCE, "num_paths": 3, "paths_m": [0.0] * 3}]


def test_the_answer_of_another_signature_is_named() -> None:
    with pytest.raises(ValueError, match=r"^num_sources: expected an output of that name, got covariance$"):
        scenes_of({"covariance": np.zeros((1, 2, 2))}, 1)


def test_another_installation_is_refused_before_it_is_sent(arrays) -> None:
    with ScriptedServer(found) as server, LocalizerClient(server.target) as client:
        fewer = {**arrays, "ris_codes": arrays["ris_codes"][:, :4], "channel": arrays["channel"][:, :4]}
        with pytest.raises(ValueError, match=r"^channel: expected N = 6 as the model ris_localizer, got 4$"):
            client.localize(fewer)
        assert not server.requests


def test_locate_takes_what_a_localizer_in_this_process_takes(arrays, tmp_path: Path) -> None:
    """A path as text, keywords, or arrays by position; a noise power in place of the file's SNR."""
    path = tmp_path / "m.npz"
    np.savez(path, **arrays)
    received = np.mean(np.abs(arrays["snapshots"]) ** 2, axis=(1, 2))
    with ScriptedServer(found, version=7) as server, LocalizerClient(server.target) as client:
        by_array = client.locate(arrays["snapshots"], arrays["ris_codes"], arrays["channel"], arrays["snr_db"])
        assert client.locate(str(path)) == client.locate(**arrays) == by_array
        assert [scene.model_version for scene in by_array] == [7] * SCENES
        np.testing.assert_array_equal(by_array[0].sources[0].position_m, np.ones(3))
        client.locate(path, noise_power=received / 11.0)
        sent = array_of(server.requests[-1].inputs["snr_db"], "snr_db")
        np.testing.assert_allclose(sent, 10.0, atol=1e-4)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "snapshots: expected an array"),
        ({"measurement": "m.npz", "snr_db": 3.0}, "got both: snr_db"),
        ({"measurement": {}, "channel": np.ones((2, 2))}, "got both: channel"),
        ({"batch_size": 0}, "batch_size: expected 1 or more, got 0"),
    ],
)
def test_what_locate_cannot_take_is_one_line(given: dict, words: str) -> None:
    with LocalizerClient("localhost:1") as client, pytest.raises(ValueError) as error:
        client.locate(**given)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


# Whether the model is ready


def test_ready_tells_whether_a_version_serves() -> None:
    loading, end = 20, 50
    with ScriptedServer(found) as server, LocalizerClient(server.target) as client:
        for states, ready in (
            ((messages.AVAILABLE,), True),
            ((end, messages.AVAILABLE, loading), True),
            ((loading,), False),
            ((end,), False),
            ((), False),
        ):
            server.status = lambda request, context, states=states: server.states(*states)
            assert client.ready(PATIENCE_S) is ready


def test_ready_asks_for_the_version_of_the_client() -> None:
    asked = []
    with ScriptedServer(found) as server, LocalizerClient(server.target, "other", model_version=3) as client:

        def status(request, context):
            asked.append((request.model_spec.name, request.model_spec.version.value))
            return server.states(messages.AVAILABLE)

        server.status = status
        assert client.ready(PATIENCE_S)
        assert asked == [("other", 3)]


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INTERNAL])
def test_a_server_that_does_not_know_is_not_ready_and_one_that_fails_is_an_error(code: grpc.StatusCode) -> None:
    with ScriptedServer(found) as server, LocalizerClient(server.target) as client:
        server.status = refusing(code, 1)
        if code is not grpc.StatusCode.INTERNAL:
            assert not client.ready(PATIENCE_S)
            return
        with pytest.raises(ServerError, match="INTERNAL: not now") as error:
            client.ready(PATIENCE_S)
        assert error.value.code is code


def test_a_server_that_is_away_is_not_ready_and_not_waited_for() -> None:
    """There is no end to the tries of this client but one after a day."""
    with held_port() as held, LocalizerClient(held.target, timeout_s=86_400.0) as client:
        assert not client.ready()


def test_a_closed_client_answers_no_more(arrays) -> None:
    with ScriptedServer(found) as server:
        client = LocalizerClient(server.target, retry=RetryConfig(0))
        client.localize(arrays)
        client.close()
        with pytest.raises(ValueError, match="closed"):
            client.localize(arrays)


# Calibrations


@pytest.mark.parametrize(
    ("calibrated", "surface", "line"),
    [
        (False, "ab" * 32, None),
        (
            False,
            "cd" * 32,
            "expected one of the surface of the model ris_localizer, sha256 abababababab, got one of cdcd",
        ),
        (True, "ab" * 32, "expected a model without a calibration inside, ris_localizer was exported with one"),
    ],
)
def test_a_calibration_is_one_for_the_model(calibrated: bool, surface: str, line: str | None) -> None:
    said = {
        "surface_sha256": np.frombuffer(bytes.fromhex("ab" * 32), np.uint8)[None],
        "calibrated": np.array([calibrated]),
    }
    calibration = Calibration(np.ones(ELEMENTS, np.complex64), None, None, {"surface_fingerprint": surface})
    with ScriptedServer(lambda *_: said) as server, LocalizerClient(server.target) as client:
        client.check_calibration(calibration)  # a model that does not say
        assert not server.requests
        server.signatures = ("surface",)
        with contextlib.nullcontext() if line is None else pytest.raises(ValueError, match=line):
            client.check_calibration(calibration)
        assert [request.model_spec.signature_name for request in server.requests] == ["surface"]


def test_a_client_with_a_calibration_applies_it(arrays, tmp_path: Path) -> None:
    response = np.exp(1j * np.arange(ELEMENTS)).astype(np.complex64)
    path = tmp_path / "calibration.npz"
    np.savez(path, element_response=response, about=np.array("{}"))
    with ScriptedServer(found) as server, LocalizerClient(server.target, calibration=path) as client:
        client.locate(arrays)
        sent = array_of(server.requests[-1].inputs["ris_codes"], "ris_codes")
    np.testing.assert_allclose(sent, np.broadcast_to(arrays["ris_codes"] * response, sent.shape), atol=1e-6)
