"""Model configuration: which models and versions serve, with TF Serving's checks and messages."""

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
    """Returns the configuration for --model_name and --model_base_path."""
    model = ModelConfig(name=name, base_path=str(base_path.absolute()), model_platform=PLATFORM)
    return ModelServerConfig(model_config_list={"config": [model]})


def check_transition(old: ModelServerConfig, new: ModelServerConfig) -> None:
    """Raises ServingError unless the configuration `new` may replace `old`, which is empty when the server starts.

    `new` must be a list of models with different names, absolute base paths and the platform `tensorflow`.
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
    """Returns the folders, by version, that the policy selects. Raises: OSError, ValueError: an unreadable folder."""
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
"""Version numbers by model name and label."""


def checked_labels(
    config: ModelServerConfig, before: Labels, available: Callable[[str], list[int]], allow_unavailable: bool
) -> Labels:
    """Returns the labels in `config`. Raises ServingError if a label names a version that does not serve.

    `before` are the labels in use, and `available` returns the versions of a model that serve. `allow_unavailable` lets
    a new label name a version that does not serve yet. A label in use may never move to such a version.
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
