"""Options of `ris-mvdr infra_validate`."""

from pathlib import Path

from models.checked import AtLeast1, Positive, checked, stage_options
from pipeline.scenes.installations import InstallationOptions

INFRA_FILE = "infra_validation.json"
VALID = "VALID"


@checked(frozen=True)
class InfraConfig:
    """What the canary is asked for."""

    scenes: AtLeast1 = 8
    """Simulated scenes in each request whose answers are compared."""
    max_latency_ms: Positive = 1_000.0
    """Limit of the median time of a request of one scene, milliseconds."""
    max_memory_mib: Positive = 4_096.0
    """Limit of the server's resident memory after the requests, MiB."""
    tolerance: Positive = 1e-3
    """Largest difference of an answer from the one in process, relative where above 1."""


@stage_options(frozen=True)
class InfraValidateOptions(InstallationOptions):
    """Loads a staged model in a canary server in another process and sends it requests over gRPC and REST."""

    saved_model: Path
    """A SavedModel in a folder named by its version, or the folder of its only version."""
    run_dir: Path
    """Where infra_validation.json and logs/ go."""
    config: str = "l64_m64"
    """Set whose installation the requests are simulated for."""
    infra: InfraConfig = InfraConfig()
