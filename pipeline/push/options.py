"""Options of `ris-mvdr push`."""

from pathlib import Path

from models.checked import stage_options


@stage_options(frozen=True)
class PushOptions:
    """Pushes a model as a new version, which a running server loads, or rolls back to an earlier version."""

    model_base_path: Path
    """Folder of the versions, as in --model_base_path of TF Serving."""
    saved_model: Path | None = None
    """SavedModel, or a folder of versions, of which the latest is used."""
    blessing: Path | None = None
    """blessing.json of `ris-mvdr bless` for that model."""
    infra_validation: Path | None = None
    """infra_validation.json of `ris-mvdr infra_validate` for that model."""
    label: str | None = None
    """Label of the new version, such as champion. A version that had the label before loses it."""
    rollback: str | None = None
    """Version to serve from now on, by number or label, or "previous"; no model is pushed. Later versions are
    withdrawn, not deleted. To restore one, give its number."""

    def __post_init__(self) -> None:
        needed = ("saved_model", "blessing", "infra_validation")
        given = [name for name in needed if getattr(self, name) is not None]
        if self.rollback is not None and given:
            raise ValueError(f"--rollback: expected no --{given[0].replace('_', '-')}, got one")
        if self.rollback is None and len(given) < len(needed):
            missing = next(name for name in needed if name not in given)
            raise ValueError(f"--{missing.replace('_', '-')}: expected a path, got none; a roll-back takes --rollback")
