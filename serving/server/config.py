"""Model configuration: which models and versions should serve, checked as TF Serving checks it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from tensorflow_serving.config import file_system_storage_path_source_pb2, model_server_config_pb2

from serving.server.calls import failed_precondition, invalid_argument

PLATFORM = "tensorflow"
_MAX_VERSION = 2**63 - 1

ModelConfig: TypeAlias = model_server_config_pb2.ModelConfig
ModelServerConfig: TypeAlias = model_server_config_pb2.ModelServerConfig
VersionPolicy: TypeAlias = file_system_storage_path_source_pb2.FileSystemStoragePathSourceConfig.ServableVersionPolicy


def single_model(name: str, base_path: Path) -> ModelServerConfig:
    """The configuration that --model_name and --model_base_path stand for."""
    model = ModelConfig(name=name, base_path=str(base_path.absolute()), model_platform=PLATFORM)
    return ModelServerConfig(model_config_list={"config": [model]})


def check_transition(old: ModelServerConfig, new: ModelServerConfig) -> None:
    """Whether `new` may follow `old`, which holds no model at the start.

    Raises: ServingError: FAILED_PRECONDITION, it is no list of models; INVALID_ARGUMENT, a name is listed twice, a base
    path is relative or holds NUL, a platform is not `tensorflow` or changes.
    """
    if new.WhichOneof("config") != "model_config_list":
        legal = "It is only legal to transition from one ModelConfigList to another."
        raise failed_precondition(f"Cannot transition to requested config. {legal}")
    models = new.model_config_list.config
    names = [model.name for model in models]
    for name in names:
        if names.count(name) > 1:
            raise invalid_argument(f"Illegal to list model {name} multiple times in config list")
    for model in models:
        if not model.base_path.startswith("/"):
            got = f"got base_path()={model.base_path}"
            raise invalid_argument(f"Expected model {model.name} to have an absolute path or URI; {got}")
        if "\0" in model.base_path:
            raise invalid_argument(f"Expected model {model.name} to have a path without NUL; got {model.base_path!r}")
    before = [model.name for model in old.model_config_list.config]
    for model in models:
        platform = model.model_platform
        if not platform:
            fields = "neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform"
            raise invalid_argument(f"Illegal setting {fields}, model name is {model.name}")
        if platform != PLATFORM and model.name in before:
            change = f"For model {model.name} platform was {PLATFORM} and new platform requested is {platform}"
            raise invalid_argument(f"Illegal to change a model's platform. {change}")
        if platform != PLATFORM:
            raise invalid_argument(f"Model {model.name} requests unsupported platform {platform}")


def aspired_versions(base_path: Path, policy: VersionPolicy) -> dict[int, Path]:
    """Folders by version that should serve. Raises: OSError or ValueError: the folder can't be read."""
    found: dict[int, Path] = {}
    for path in sorted(base_path.iterdir()):
        if re.fullmatch(r"[+-]?\d+", path.name, re.ASCII) and abs(int(path.name)) <= _MAX_VERSION and path.is_dir():
            found[int(path.name)] = path
    choice, wanted = policy.WhichOneof("policy_choice"), sorted(found, reverse=True)
    if choice == "specific":
        wanted = [version for version in policy.specific.versions if version in found]
    elif choice != "all":
        wanted = wanted[: max(policy.latest.num_versions, 1)]
    return {version: found[version] for version in wanted}


Labels: TypeAlias = dict[str, dict[str, int]]
"""Versions by model and label."""


def checked_labels(
    config: ModelServerConfig, before: Labels, available: Callable[[str], list[int]], allow_unavailable: bool
) -> Labels:
    """The labels `config` asks for; `available` gives the versions of a model that serve. With `allow_unavailable`, new
    labels may wait for theirs, but one in use still can't move to a version that does not serve.

    Raises: ServingError: FAILED_PRECONDITION; a version that does not serve can't be labelled.
    """
    labels: Labels = {}
    for model in config.model_config_list.config:
        serving = available(model.name)
        for label, version in model.version_labels.items():
            unused = before.get(model.name, {}).get(label, version) == version
            if version not in serving and not (allow_unavailable and unused):
                request = f"Request to assign label to version {version} of model {model.name}"
                raise failed_precondition(f"{request}, which is not currently available for inference")
            labels.setdefault(model.name, {})[label] = version
    return labels
