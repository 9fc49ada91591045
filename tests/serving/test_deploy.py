"""Deployment of the real TF Serving: files that parse, agree with each other and fit the exported localizer."""

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
import yaml

from pipeline.export import ExportOptions
from pipeline.release.exporting import SIGNATURES, read_meta_graph
from serving.client import LocalizerClient
from serving.client.command import _parser
from tests.serving.deployment import DEPLOY, compose_service, load_yaml

ROOT = DEPLOY.parents[1]
MODEL_NAME = inspect.signature(LocalizerClient).parameters["model_name"].default
GRPC_PORT, REST_PORT = 8500, 8501
# What the embedded server takes as well.
FLAGS = {
    *("port", "rest_api_port", "model_name", "model_base_path", "model_config_file"),
    *("model_config_file_poll_wait_seconds", "file_system_poll_wait_seconds", "enable_batching"),
    *("batching_parameters_file", "monitoring_config_file", "ssl_config_file", "grpc_socket_path"),
    *("grpc_channel_arguments", "max_num_load_retries", "load_retry_interval_micros", "enable_model_warmup", "version"),
    "allow_version_labels_for_unavailable_models",
}
# TF Serving's metrics with their labels: servables/tensorflow/util.cc, saved_model_warmup_util.cc, batching_util.h
METRICS = {
    "request_count": {"model_name", "status"},
    "request_latency": {"model_name", "API", "entrypoint"},
    "runtime_latency": {"model_name", "API", "runtime"},
    "model_warmup_latency": {"model_path", "status"},
    "batching_session:queuing_latency": {"thread_pool_name"},
    "batching_session:input_batch_size": set(),
    "batching_session:processed_batch_size": set(),
}


@pytest.fixture(scope="module")
def deployment() -> dict[str, Any]:
    return load_yaml("kubernetes/deployment.yaml")


@pytest.fixture(scope="module")
def pod(deployment) -> dict[str, Any]:
    return deployment["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod) -> dict[str, Any]:
    (only,) = pod["containers"]
    return only


def text_proto(name: str, message: str):
    """A config file through the embedded server's parser, which refuses unknown fields."""
    configs = pytest.importorskip("serving.server.text_configs", reason="waits for the server's text configs")
    return configs.read_text_proto(DEPLOY / "config" / name, message)


def flags_of(command: list[str]) -> dict[str, str]:
    pairs = [flag.removeprefix("--").split("=", 1) for flag in command]
    return {name: value for name, value in pairs}


# Flags, names, ports and paths


def test_compose_and_kubernetes_run_the_same_with_known_flags(container) -> None:
    compose, kubernetes = flags_of(compose_service()["command"]), flags_of(container["args"])
    assert compose.keys() <= FLAGS
    # A ConfigMap that changes has another name and makes new pods: there is nothing to poll.
    assert kubernetes == {
        name: value for name, value in compose.items() if name != "model_config_file_poll_wait_seconds"
    }
    assert compose_service()["entrypoint"] == container["command"] == ["tensorflow_model_server"]
    assert (compose["port"], compose["rest_api_port"]) == (str(GRPC_PORT), str(REST_PORT))
    for name, value in compose.items():
        if name.endswith("_file"):
            assert value.startswith("/config/")
            assert (DEPLOY / "config" / value.removeprefix("/config/")).is_file()


def test_the_image_is_of_the_api_that_is_locked(container) -> None:
    (version,) = re.findall(r"^tensorflow-serving-api==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert compose_service()["image"] == container["image"] == f"tensorflow/serving:{version}"


def test_one_model_of_one_name(container) -> None:
    (model,) = text_proto("models.config", "ModelServerConfig").model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == (MODEL_NAME, f"/models/{MODEL_NAME}", "tensorflow")
    assert _parser().get_default("model_name") == MODEL_NAME
    status = f"/v1/models/{MODEL_NAME}"
    for probe, path in (("startup", status), ("liveness", status), ("readiness", f"{status}/metadata")):
        assert container[f"{probe}Probe"]["httpGet"] == {"path": path, "port": "rest"}
    assert f"GET {status}/metadata HTTP" in compose_service()["healthcheck"]["test"][-1]


def test_ports_lead_from_the_outside_to_the_server(deployment, container) -> None:
    ports = {"grpc": GRPC_PORT, "rest": REST_PORT}
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == ports
    assert compose_service()["ports"] == [f"{port}:{port}" for port in ports.values()]
    service = load_yaml("kubernetes/service.yaml")["spec"]
    assert {port["targetPort"]: port["port"] for port in service["ports"]} == ports
    assert service["selector"] == deployment["spec"]["template"]["metadata"]["labels"]
    assert f"127.0.0.1/{REST_PORT} " in compose_service()["healthcheck"]["test"][-1]


def test_metrics_are_scraped_where_they_are(deployment) -> None:
    prometheus = text_proto("monitoring.config", "MonitoringConfig").prometheus_config
    assert prometheus.enable
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    expected = {"scrape": "true", "port": str(REST_PORT), "path": prometheus.path}
    assert annotations == {f"prometheus.io/{name}": value for name, value in expected.items()}
    (job,) = load_yaml("monitoring/prometheus.yaml")["scrape_configs"]
    assert job["metrics_path"] == prometheus.path
    (targets,) = job["static_configs"]
    assert targets == {"targets": [f"serving:{REST_PORT}"]}


# Kubernetes


def test_kustomization_names_every_file() -> None:
    kustomization = load_yaml("kustomization.yaml")
    kubernetes = {str(path.relative_to(DEPLOY)) for path in (DEPLOY / "kubernetes").iterdir()}
    assert set(kustomization["resources"]) == kubernetes
    (config,) = kustomization["configMapGenerator"]
    assert set(config["files"]) == {str(path.relative_to(DEPLOY)) for path in (DEPLOY / "config").iterdir()}


def test_objects_are_of_the_kinds_and_refer_to_each_other(deployment) -> None:
    kinds = {
        "deployment": ("apps/v1", "Deployment"),
        "service": ("v1", "Service"),
        "autoscaler": ("autoscaling/v2", "HorizontalPodAutoscaler"),
        "models-volume": ("v1", "PersistentVolumeClaim"),
    }
    objects = {name: load_yaml(f"kubernetes/{name}.yaml") for name in kinds}
    assert {name: (item["apiVersion"], item["kind"]) for name, item in objects.items()} == kinds
    labels = deployment["metadata"]["labels"]
    assert all(item["metadata"]["labels"] == labels for item in objects.values())
    assert deployment["spec"]["selector"]["matchLabels"] == deployment["spec"]["template"]["metadata"]["labels"]
    target = objects["autoscaler"]["spec"]["scaleTargetRef"]
    named = {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment["metadata"]["name"]}
    assert target == named
    assert "replicas" not in deployment["spec"]
    limits = objects["autoscaler"]["spec"]
    assert 1 < limits["minReplicas"] < limits["maxReplicas"]


def test_volumes_hold_the_model_and_the_config_read_only(pod, container) -> None:
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert volumes.keys() == mounts.keys()
    claim = load_yaml("kubernetes/models-volume.yaml")
    assert volumes["models"]["persistentVolumeClaim"] == {"claimName": claim["metadata"]["name"], "readOnly": True}
    (config,) = load_yaml("kustomization.yaml")["configMapGenerator"]
    assert volumes["config"]["configMap"]["name"] == config["name"]
    assert {name: mounts[name]["mountPath"] for name in ("models", "config")} == {
        "models": "/models",
        "config": "/config",
    }
    assert mounts["models"]["readOnly"] and mounts["config"]["readOnly"]
    binds = {bind["target"]: bind["read_only"] for bind in compose_service()["volumes"]}
    assert binds == {"/models": True, "/config": True}


def test_containers_are_without_rights_and_within_limits(pod, container) -> None:
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    resources = container["resources"]
    assert resources["requests"].keys() == {"cpu", "memory"} and "memory" in resources["limits"]
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 300
    compose = compose_service()
    assert compose["read_only"] and compose["cap_drop"] == ["ALL"]


# Batching and the export


def test_batching_takes_what_the_client_and_the_warm_up_send() -> None:
    batching = text_proto("batching.config", "BatchingParameters")
    sizes = list(batching.allowed_batch_sizes)
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == batching.max_batch_size.value
    assert _parser().get_default("batch_size") <= batching.max_batch_size.value
    assert set(ExportOptions.warmup_batch_sizes) <= set(sizes)
    assert batching.num_batch_threads.value >= 1 and batching.max_enqueued_batches.value >= 1


@pytest.fixture(scope="module")
def signatures(tiny_model: Path):
    (version,) = tiny_model.iterdir()
    return read_meta_graph(version).signature_def


def test_every_tensor_of_the_export_has_the_batch_first(signatures) -> None:
    for name in SIGNATURES:
        for infos in (signatures[name].inputs, signatures[name].outputs):
            for alias, info in infos.items():
                assert info.tensor_shape.dim[0].size == -1, (name, alias)


def test_the_documented_signatures_are_the_exported_ones(signatures) -> None:
    """The table of docs/serving.md: `name` [B, L, 16] ... dtype."""
    text = (ROOT / "docs" / "serving.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.MULTILINE))
    assert set(rows) == set(SIGNATURES)
    letters = {"B": -1, "L": -1, "M": 16, "N": 144}
    inputs = rows["serving_default"].split("|")[0]
    documented = {}
    for group, dtype in re.findall(r"((?:`\w+` \[[^\]]+\],? ?)+)(complex64|float32)", inputs):
        for name, shape in re.findall(r"`(\w+)` \[([^\]]+)\]", group):
            documented[name] = (tf.as_dtype(dtype), [letters[letter] for letter in shape.split(", ")])
    exported = {
        name: (tf.as_dtype(info.dtype), [dim.size for dim in info.tensor_shape.dim])
        for name, info in signatures["serving_default"].inputs.items()
    }
    assert documented == exported
    for name in ("covariance", "spectrum"):
        assert set(re.findall(r"`(\w+)` \[", rows[name].split("|")[1])) == set(signatures[name].outputs)


# Dashboard


def test_the_dashboard_asks_for_metrics_that_tf_serving_has() -> None:
    dashboard = json.loads((DEPLOY / "monitoring" / "grafana-dashboard.json").read_text())
    names = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert names == {"datasource", "model"}
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    expressions.append(dashboard["templating"]["list"][1]["query"]["query"])
    asked = set()
    for expression in expressions:
        assert expression.count("(") == expression.count(")")
        for metric, selector in re.findall(
            r":tensorflow:serving:([\w:]+?)(?:_bucket|_sum|_count)?(?:{(.*?)}|\[|\))", expression + ")"
        ):
            name = metric if metric in METRICS else f"{metric}_count"
            assert name in METRICS, expression
            assert set(re.findall(r"(\w+)=", selector)) <= METRICS[name], expression
            asked.add(name)
    assert asked == METRICS.keys()


def test_panels_lie_beside_each_other() -> None:
    panels = json.loads((DEPLOY / "monitoring" / "grafana-dashboard.json").read_text())["panels"]
    cells = set()
    for panel in panels:
        place = panel["gridPos"]
        own = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not own & cells and place["x"] + place["w"] <= 24
        cells |= own
        assert panel["title"] and panel["description"]
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_every_file_parses() -> None:
    for path in DEPLOY.rglob("*.*"):
        if path.suffix == ".yaml":
            yaml.safe_load(path.read_text())
        elif path.suffix == ".json":
            json.loads(path.read_text())
        else:
            assert path.suffix == ".config"
