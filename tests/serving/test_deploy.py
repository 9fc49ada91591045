"""Deployment of the real TF Serving: files that parse, agree with each other and fit the exported localizer."""

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
import yaml

from pipeline.export.options import ExportOptions
from pipeline.release.versions import read_meta_graph
from serving import model_server
from serving.client import LocalizerClient, RetryConfig
from serving.client.command import _parser
from tests.serving.deployment import DEPLOY, compose_service, load_yaml

ROOT = DEPLOY.parents[1]
MODEL_NAME = inspect.signature(LocalizerClient).parameters["model_name"].default
GRPC_PORT, REST_PORT = 8500, 8501
# Flags of TF Serving only: the embedded server leaves threads to TensorFlow.
THREADS = ("tensorflow_intra_op_parallelism", "tensorflow_inter_op_parallelism")
DNS_TTL_S = 30  # default maximum of a cluster's DNS
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
    """Reads a config file with the embedded server's parser, which refuses unknown fields."""
    configs = pytest.importorskip("serving.server.text_configs", reason="waits for the server's text configs")
    return configs.read_text_proto(DEPLOY / "config" / name, message)


def flags_of(command: list[str]) -> dict[str, str]:
    pairs = [flag.removeprefix("--").split("=", 1) for flag in command]
    return {name: value for name, value in pairs}


# Flags, names, ports and paths


def test_compose_and_kubernetes_run_the_same(container) -> None:
    compose, kubernetes = flags_of(compose_service()["command"]), flags_of(container["args"])
    # A changed ConfigMap has another name and results in new pods, so there is nothing to poll. Compose lets TensorFlow
    # use all cores.
    assert {name: value for name, value in kubernetes.items() if name not in THREADS} == {
        name: value for name, value in compose.items() if name != "model_config_file_poll_wait_seconds"
    }
    assert compose_service()["entrypoint"] == container["command"] == ["tensorflow_model_server"]
    assert (compose["port"], compose["rest_api_port"]) == (str(GRPC_PORT), str(REST_PORT))
    for name, value in compose.items():
        if name.endswith("_file"):
            assert value.startswith("/config/")
            assert (DEPLOY / "config" / value.removeprefix("/config/")).is_file()


@pytest.mark.promise("tensorflow serving", "model server")
def test_the_embedded_server_takes_the_same_flags(container, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (compose_service()["command"], container["args"]):
        shared = [flag for flag in command if flag.removeprefix("--").partition("=")[0] not in THREADS]
        model_server.main([*shared, "--version"])
        assert "TensorFlow ModelServer" in capsys.readouterr().out


def test_a_pod_runs_as_many_threads_as_it_has_cores(container) -> None:
    flags = flags_of(container["args"])
    assert {flags[name] for name in THREADS} == {container["resources"]["requests"]["cpu"]}


def test_the_image_is_of_the_api_that_is_locked(container) -> None:
    (version,) = re.findall(r"^tensorflow-serving-api==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert compose_service()["image"] == container["image"] == f"tensorflow/serving:{version}"
    for name in ("compose.yaml", "kubernetes/deployment.yaml"):
        before = (DEPLOY / name).read_text().partition(f"image: tensorflow/serving:{version}")[0].splitlines()
        assert any("Not verified" in line for line in before[-4:]), name


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
    assert compose_service()["ports"] == [f"127.0.0.1:{port}:{port}" for port in ports.values()]
    services = {name: load_yaml(f"kubernetes/{name}.yaml") for name in ("service", "service-rest")}
    assert {
        port["targetPort"]: port["port"] for service in services.values() for port in service["spec"]["ports"]
    } == ports
    for service in services.values():
        assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]
    assert f"127.0.0.1/{REST_PORT} " in compose_service()["healthcheck"]["test"][-1]


def test_nothing_is_published_but_to_this_machine() -> None:
    for service in load_yaml("compose.yaml")["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


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


# Stopping, and the way of connections


def ages_s(flags: dict[str, str]) -> tuple[float, float]:
    """Returns the maximum age of a connection and the time that its calls then have, seconds."""
    arguments = dict(pair.split("=") for pair in flags["grpc_channel_arguments"].split(","))
    return tuple(int(arguments[f"grpc.max_connection_age{which}_ms"]) / 1e3 for which in ("", "_grace"))


def test_the_server_is_not_process_one_and_so_sigterm_reaches_it(pod) -> None:
    assert compose_service()["init"] is True
    assert pod["shareProcessNamespace"] is True


def test_a_pod_ends_after_its_connections(pod, container) -> None:
    """preStop covers the lifetime of resolved names, the age of the last connection and some seconds for its calls, and
    Kubernetes waits for all of that."""
    age_s, grace_s = ages_s(flags_of(container["args"]))
    program, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    assert int(seconds) >= DNS_TTL_S + 1.1 * age_s + 10
    assert pod["terminationGracePeriodSeconds"] > int(seconds)
    # A client resolves the name only when it connects, and an old connection stays open for its calls.
    assert RetryConfig.longest_wait_s < age_s
    assert grace_s >= _parser().get_default("timeout_s")


def test_the_grpc_service_stands_for_all_pods_and_keeps_their_ports() -> None:
    spec = load_yaml("kubernetes/service.yaml")["spec"]
    assert spec["clusterIP"] == "None"  # the string, which Kubernetes reads as headless
    assert [port["name"] for port in spec["ports"]] == ["grpc"]
    assert "clusterIP" not in load_yaml("kubernetes/service-rest.yaml")["spec"]


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
        "service-rest": ("v1", "Service"),
        "autoscaler": ("autoscaling/v2", "HorizontalPodAutoscaler"),
        "models-volume": ("v1", "PersistentVolumeClaim"),
        "disruption-budget": ("policy/v1", "PodDisruptionBudget"),
        "network-policy": ("networking.k8s.io/v1", "NetworkPolicy"),
    }
    assert {f"{name}.yaml" for name in kinds} == {path.name for path in (DEPLOY / "kubernetes").iterdir()}
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
    budget = objects["disruption-budget"]["spec"]
    assert budget["selector"]["matchLabels"] == labels
    assert 1 <= budget["maxUnavailable"] < limits["minReplicas"]


def test_pods_are_spread_over_nodes_and_zones(deployment, pod) -> None:
    constraints = {constraint["topologyKey"]: constraint for constraint in pod["topologySpreadConstraints"]}
    assert constraints.keys() == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
    for constraint in constraints.values():
        assert constraint["labelSelector"]["matchLabels"] == deployment["spec"]["template"]["metadata"]["labels"]
        # A cluster with one node must work as well.
        assert (constraint["maxSkew"], constraint["whenUnsatisfiable"]) == (1, "ScheduleAnyway")


def test_clients_reach_both_ports_prometheus_its_own_and_pods_nobody(deployment, container) -> None:
    spec = load_yaml("kubernetes/network-policy.yaml")["spec"]
    assert spec["podSelector"]["matchLabels"] == deployment["spec"]["template"]["metadata"]["labels"]
    assert (set(spec["policyTypes"]), spec["egress"]) == ({"Ingress", "Egress"}, [])
    clients, prometheus = ({port["port"] for port in rule["ports"]} for rule in spec["ingress"])
    assert clients == {port["name"] for port in container["ports"]}
    assert prometheus == {"rest"}
    assert all(rule["from"] for rule in spec["ingress"])  # an empty list would allow everyone


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
    for bind in load_yaml("compose.yaml")["services"]["prometheus"]["volumes"]:
        assert bind["read_only"] and (DEPLOY / bind["source"]).is_file()


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
    # Full batches of the client are not padded.
    client = inspect.signature(LocalizerClient.localize).parameters["batch_size"].default
    assert _parser().get_default("batch_size") == client == batching.max_batch_size.value
    assert set(ExportOptions.warmup_batch_sizes) <= set(sizes)
    assert batching.num_batch_threads.value >= 1 and batching.max_enqueued_batches.value >= 1


@pytest.fixture(scope="module")
def signatures(tiny_model: Path):
    """The signatures that a client can request, by name."""
    (version,) = tiny_model.iterdir()
    found = read_meta_graph(version).signature_def
    return {name: found[name] for name in found if not name.startswith("__")}


def test_every_tensor_of_the_export_has_the_batch_first(signatures) -> None:
    for name in signatures:
        for infos in (signatures[name].inputs, signatures[name].outputs):
            for alias, info in infos.items():
                assert info.tensor_shape.dim[0].size == -1, (name, alias)


def test_the_documented_signatures_are_the_exported_ones(signatures) -> None:
    """The table of docs/serving.md: `name` [B, L, 16] ... dtype."""
    text = (ROOT / "docs" / "serving.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.MULTILINE))
    assert set(rows) == set(signatures)
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
    for name in ("covariance", "spectrum", "surface"):
        assert set(re.findall(r"`(\w+)` \[", rows[name].split("|")[1])) == set(signatures[name].outputs)


# Dashboard and alerts


def metrics_asked(expression: str) -> set[str]:
    """Returns the metrics in a Prometheus expression, after a check that its labels are theirs."""
    assert expression.count("(") == expression.count(")")
    asked = set()
    for metric, selector in re.findall(
        r":tensorflow:serving:([\w:]+?)(?:_bucket|_sum|_count)?(?:{(.*?)}|\[|\))", expression + ")"
    ):
        name = metric if metric in METRICS else f"{metric}_count"
        assert name in METRICS, expression
        assert set(re.findall(r"(\w+)=", selector)) <= METRICS[name], expression
        asked.add(name)
    return asked


def test_the_dashboard_asks_for_metrics_that_tf_serving_has() -> None:
    dashboard = json.loads((DEPLOY / "monitoring" / "grafana-dashboard.json").read_text())
    names = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert names == {"datasource", "model"}
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    expressions.append(dashboard["templating"]["list"][1]["query"]["query"])
    assert set().union(*map(metrics_asked, expressions)) == METRICS.keys()


def test_alerts_ask_for_metrics_that_there_are() -> None:
    prometheus = load_yaml("monitoring/prometheus.yaml")
    (job,) = prometheus["scrape_configs"]
    mounts = {bind["target"] for bind in load_yaml("compose.yaml")["services"]["prometheus"]["volumes"]}
    assert set(prometheus["rule_files"]) < mounts
    (group,) = load_yaml("monitoring/alerts.yaml")["groups"]
    rules = {rule["alert"]: rule for rule in group["rules"]}
    assert len(rules) == len(group["rules"])
    down = rules.pop("LocalizerDown")
    assert set(re.findall(r'up{job="(\w+)"}', down["expr"])) == {job["job_name"]}
    asked = {name: metrics_asked(rule["expr"]) for name, rule in rules.items()}
    assert asked == {
        "LocalizerRequestsFail": {"request_count"},
        "LocalizerSlow": {"request_latency"},
        "LocalizerQueues": {"batching_session:queuing_latency"},
    }
    for rule in (down, *rules.values()):
        assert {"alert", "expr", "for", "labels", "annotations"} == rule.keys()
        assert set(re.findall(r'model_name=~?"(\w+)', rule["expr"])) <= {MODEL_NAME}


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
