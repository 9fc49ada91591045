"""Tests a staged model in a canary server: it must load, answer as in this process, and stay in limits."""

import dataclasses
import json
import logging
import statistics
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from models.physics.geometry import Scenario
from pipeline.common.artifacts import Fingerprint, Input, fingerprint, making
from pipeline.common.records import plain, write_json
from pipeline.common.run_folders import read_record
from pipeline.infra_validate.options import INFRA_FILE, VALID, InfraConfig, InfraValidateOptions
from pipeline.infra_validate.signature import signature_faults
from pipeline.metrics.estimators import latest_version, saved_model_estimator
from pipeline.release.versions import model_digest
from pipeline.scenes.identity import common_scenario
from serving.client import LocalizerClient, ServerError
from serving.server_process import PATIENCE_S, NotServing, ServerProcess, server_process
from tfds_shards.inputs import simulated_inputs

INVALID = "INVALID"
_MODEL_NAME = "ris_localizer"
_COMPARED = ("azimuth_deg", "elevation_deg", "range_m", "power_db", "score", "position_m")


@dataclasses.dataclass(frozen=True)
class InfraValidation:
    """The verdict, the reasons for INVALID, and the measurements; these are None if the server failed before them."""

    verdict: str
    reasons: list[str]
    latency_ms: float | None = None
    memory_mib: float | None = None


def validate_infrastructure(version: Path, scenario: Scenario, config: InfraConfig) -> InfraValidation:
    """Loads the version in a server in another process and sends it requests over gRPC and REST.

    version: folder of a SavedModel; its name is a number, and its parent holds no other version. scenario: installation
    to simulate scenes for.
    """
    if reasons := signature_faults(version):
        return InfraValidation(INVALID, reasons)
    inputs = simulated_inputs(scenario, config.scenes)
    flags = (
        f"--model_name={_MODEL_NAME}",
        f"--model_base_path={version.parent.absolute()}",
        "--rest_api_port=-1",
        f"--rest_api_timeout_in_ms={1e3 * PATIENCE_S:.0f}",
    )

    def answer_here() -> dict[str, np.ndarray]:
        return {name: np.asarray(value) for name, value in saved_model_estimator(version)(inputs).items()}

    try:
        with ThreadPoolExecutor(1) as beside:  # while the server starts
            expected = beside.submit(answer_here)
            with server_process(*flags, killed_with_parent=True) as server:
                return _requests(server, inputs, expected.result(), config)
    except (tf.errors.OpError, NotServing, OSError, ValueError, ServerError) as error:
        return InfraValidation(INVALID, [str(error).strip().partition("\n")[0]])


def _requests(
    server: ServerProcess, inputs: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], config: InfraConfig
) -> InfraValidation:
    with LocalizerClient(server.target, _MODEL_NAME, timeout_s=PATIENCE_S) as client:
        answers: dict[str, Callable[[], Mapping[str, np.ndarray]]] = {
            "gRPC": lambda: client.predict(inputs).outputs,
            "REST": lambda: _over_rest(server.rest_port, inputs, expected),
        }
        reasons = [
            f"{way}: {fault}"
            for way, answer in answers.items()
            for fault in differences(answer(), expected, config.tolerance)
        ]
        one_scene = {name: value[:1] for name, value in inputs.items()}
        latency_ms = 1e3 * statistics.median(_times(lambda: client.predict(one_scene), 10))
    memory_mib = server.resident_bytes() / 2**20
    if latency_ms > (limit := config.max_latency_ms):
        reasons.append(f"a request of one scene: {latency_ms:.0f} ms, allowed at most {limit:g} ms")
    if memory_mib > (limit := config.max_memory_mib):
        reasons.append(f"the server's memory: {memory_mib:.0f} MiB, allowed at most {limit:g} MiB")
    return InfraValidation(INVALID if reasons else VALID, reasons, latency_ms, memory_mib)


def _times(action: Callable[[], object], count: int) -> Iterator[float]:
    """Times of `count` calls in seconds, after one call that is not measured because it may still trace."""
    action()
    for _ in range(count):
        started = time.perf_counter()
        action()
        yield time.perf_counter() - started


def _over_rest(port: int, inputs: Mapping[str, np.ndarray], like: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Calls `localize_real` over REST with JSON in column format."""
    columns = {
        name: (np.stack([value.real, value.imag], -1) if np.iscomplexobj(value) else value).tolist()
        for name, value in inputs.items()
    }
    body = json.dumps({"signature_name": "localize_real", "inputs": columns}).encode()
    url = f"http://localhost:{port}/v1/models/{_MODEL_NAME}:predict"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
            outputs: dict[str, Any] = json.load(response)["outputs"]
    except urllib.error.HTTPError as error:
        raise ValueError(f"REST: HTTP {error.code}: {error.read(300).decode(errors='replace')}") from None
    return {name: np.array(value, like[name].dtype) for name, value in outputs.items() if name in like}


def differences(answer: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], tolerance: float) -> list[str]:
    """Describes how an answer differs from the expected one; empty if it does not."""
    if set(answer) != set(expected):
        return [f"expected the outputs {', '.join(sorted(expected))}, got {', '.join(sorted(answer))}"]
    if not np.array_equal(answer["num_sources"], expected["num_sources"]):
        return [f"num_sources: expected {expected['num_sources'].tolist()}, got {answer['num_sources'].tolist()}"]
    found = []
    for name in _COMPARED:
        error = np.abs(answer[name] - expected[name]) / np.maximum(np.abs(expected[name]), 1.0)
        same_slots = np.array_equal(np.isnan(answer[name]), np.isnan(expected[name]))
        largest = np.nanmax(error, initial=0.0)
        if not same_slots or largest > tolerance:
            found.append(f"{name}: off by {largest:.3g}, allowed at most {tolerance:g}")
    return found


def expected_fingerprint(options: InfraValidateOptions) -> Fingerprint:
    """Everything that determines the verdict, except the speed of the machine; ValueError if the model does not
    exist."""
    version = latest_version(options.saved_model)
    inputs = {"the model": Input(model_digest(version), version)}
    return fingerprint("infra_validate", options, inputs, left_out=("run_dir", "saved_model"))


def judge(options: InfraValidateOptions, logger: logging.Logger) -> dict[str, Any]:
    """Validates and writes the verdict, or reads an existing one; returns the record. Raises `Differs` if the folder
    holds a verdict made with other options or inputs."""
    with making(options.run_dir, expected_fingerprint(options), logger) as run:
        if run.state != "done":
            run.begin(options)
            version = latest_version(options.saved_model)
            found = validate_infrastructure(version, common_scenario([options.config]), options.infra)
            record = {**dataclasses.asdict(found), "model": model_digest(version)}
            write_json(options.run_dir / INFRA_FILE, plain(record))
            run.finish(INFRA_FILE)
    record = read_record(options.run_dir / INFRA_FILE)
    logger.info(f"{record['verdict']}: {'; '.join(record['reasons']) or 'loads, and answers as in this process'}")
    if record["latency_ms"] is not None:
        logger.info(f"{record['latency_ms']:.1f} ms per request of one scene, {record['memory_mib']:.0f} MiB")
    return record
