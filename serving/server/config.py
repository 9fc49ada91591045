"""Model configuration: which models and versions should serve, checked as TF Serving checks it."""

import re
from collections.abc import Callable, Iterator
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
    config = ModelServerConfig()
    path = str(base_path.absolute())
    config.model_config_list.config.add(name=name, base_path=path, model_platform=PLATFORM)
    return config


def _platform(model: ModelConfig) -> str:
    if model.model_type != model_server_config_pb2.MODEL_TYPE_UNSPECIFIED:
        if model.model_platform:
            raise invalid_argument(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and "
                f"ModelServerConfig::model_platform, model name is {model.name}"
            )
        if model.model_type != model_server_config_pb2.TENSORFLOW:
            raise invalid_argument(f"ModelServerConfig::model_type choice {model.model_type} not supported.")
        return PLATFORM
    if not model.model_platform:
        raise invalid_argument(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f"ModelServerConfig::model_platform, model name is {model.name}"
        )
    return model.model_platform


def check_transition(old: ModelServerConfig | None, new: ModelServerConfig) -> None:
    """Whether `new` may follow `old`.

    Raises:
      ServingError: FAILED_PRECONDITION if it is no list of models; INVALID_ARGUMENT for a name listed twice, a
        base path that is relative or holds NUL, a platform that is not `tensorflow` or changes.
    """
    if new.WhichOneof("config") != "model_config_list":
        raise failed_precondition(
            "Cannot transition to requested config. It is only legal to transition from one ModelConfigList to another."
        )
    names: set[str] = set()
    for model in new.model_config_list.config:
        if model.name in names:
            raise invalid_argument(f"Illegal to list model {model.name} multiple times in config list")
        names.add(model.name)
    for model in new.model_config_list.config:
        if not model.base_path.startswith("/"):
            raise invalid_argument(
                f"Expected model {model.name} to have an absolute path or URI; got base_path()={model.base_path}"
            )
        if "\0" in model.base_path:
            raise invalid_argument(f"Expected model {model.name} to have a path without NUL; got {model.base_path!r}")
    before = {model.name: _platform(model) for model in old.model_config_list.config} if old is not None else {}
    for model in new.model_config_list.config:
        platform = _platform(model)
        if before.get(model.name, platform) != platform:
            raise invalid_argument(
                f"Illegal to change a model's platform. For model {model.name} platform was {before[model.name]} "
                f"and new platform requested is {platform}"
            )
        if platform != PLATFORM:
            raise invalid_argument(f"Model {model.name} requests unsupported platform {platform}")


def _versions_in(base_path: Path) -> Iterator[tuple[int, Path]]:
    for path in sorted(base_path.iterdir()):
        if re.fullmatch(r"[+-]?\d+", path.name, re.ASCII) and abs(int(path.name)) <= _MAX_VERSION and path.is_dir():
            yield int(path.name), path


def aspired_versions(base_path: Path, policy: VersionPolicy) -> dict[int, Path]:
    """Folders by version that should serve.

    Raises:
      OSError: the folder can't be read.
    """
    found = dict(_versions_in(base_path))
    if policy.WhichOneof("policy_choice") == "all":
        return found
    if policy.WhichOneof("policy_choice") == "specific":
        return {version: found[version] for version in policy.specific.versions if version in found}
    latest = sorted(found, reverse=True)[: max(policy.latest.num_versions, 1)]
    return {version: found[version] for version in latest}


def checked_labels(
    config: ModelServerConfig,
    before: dict[str, dict[str, int]],
    available: Callable[[str], list[int]],
    allow_unavailable: bool,
) -> dict[str, dict[str, int]]:
    """Versions by model and label.

    Args:
      config: what is asked for.
      before: what holds now.
      available: the versions of a model that serve.
      allow_unavailable: --allow_version_labels_for_unavailable_models; labels in use still can't move to a version
        that does not serve.

    Raises:
      ServingError: FAILED_PRECONDITION; a version that does not serve can't be labelled.
    """
    labels: dict[str, dict[str, int]] = {}
    for model in config.model_config_list.config:
        serving = available(model.name)
        for label, version in model.version_labels.items():
            unused = before.get(model.name, {}).get(label, version) == version
            if version not in serving and not (allow_unavailable and unused):
                raise failed_precondition(
                    f"Request to assign label to version {version} of model {model.name}, which is not currently "
                    "available for inference"
                )
            labels.setdefault(model.name, {})[label] = version
    return labels
