"""Options of `ris-mvdr infra_validate`."""

from pathlib import Path

from models.checked import AtLeast1, Positive, checked, stage_options
from pipeline.scenes.installations import InstallationOptions

INFRA_FILE = "infra_validation.json"
VALID = "VALID"


@checked(frozen=True)
class InfraConfig:
    """Requests to the canary server, and limits of its answers."""

    scenes: AtLeast1 = 8
    """Simulated scenes in each request whose answers are compared."""
    max_latency_ms: Positive = 1_000.0
    """Largest median time of a request with one scene, in milliseconds."""
    max_memory_mib: Positive = 4_096.0
    """Largest resident memory of the server after the requests, in MiB."""
    tolerance: Positive = 1e-3
    """Largest difference between an answer of the server and of this process, relative for values above 1."""


@stage_options(frozen=True)
class InfraValidateOptions(InstallationOptions):
    """Loads an exported model in a canary server, which is another process, and sends it gRPC and REST requests."""

    saved_model: Path
    """SavedModel in a folder named by its version, or the folder of its only version."""
    run_dir: Path
    """Run folder: infra_validation.json and logs/."""
    config: str = "l64_m64"
    """Data set whose installation the requests are simulated for."""
    infra: InfraConfig = InfraConfig()
