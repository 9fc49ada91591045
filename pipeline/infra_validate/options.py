"""Options of `ris-mvdr infra_validate`."""

import dataclasses
from pathlib import Path

from pipeline.scenes.installations import apply_installation

INFRA_FILE = "infra_validation.json"
VALID = "VALID"


@dataclasses.dataclass(frozen=True)
class InfraConfig:
    """What the canary is asked for."""

    scenes: int = 8
    """Simulated scenes in each request whose answers are compared."""
    max_latency_ms: float = 1_000.0
    """Limit of the median time of a request of one scene, milliseconds."""
    max_memory_mib: float = 4_096.0
    """Limit of the server's resident memory after the requests, MiB."""
    tolerance: float = 1e-3
    """Largest difference of an answer from the one in process, relative where above 1."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f"--infra.{field.name.replace('_', '-')}: expected a positive number")


@dataclasses.dataclass(frozen=True)
class InfraValidateOptions:
    """Loads a staged model in a canary server in another process and sends it requests over gRPC and REST."""

    saved_model: Path
    """A SavedModel in a folder named by its version, or the folder of its only version."""
    run_dir: Path
    """Where infra_validation.json and logs/ go."""
    config: str = "l64_m64"
    """Set whose installation the requests are simulated for."""
    installation: Path | None = None
    """An installation file that the sets are drawn for, as for `python -m pipeline.data`."""
    infra: InfraConfig = InfraConfig()

    def __post_init__(self) -> None:
        apply_installation(self)
