"""Options of `ris-mvdr push`."""

from pathlib import Path

from models.checked import stage_options


@stage_options(frozen=True)
class PushOptions:
    """Pushes a model as a new version that a running server takes up, or rolls back to an earlier one."""

    model_base_path: Path
    """Folder of the versions, what TF Serving calls --model_base_path."""
    saved_model: Path | None = None
    """A SavedModel, or the folder of its versions, of which the latest is taken."""
    blessing: Path | None = None
    """The blessing.json of `python -m pipeline.bless` on that model."""
    infra_validation: Path | None = None
    """The infra_validation.json of `python -m pipeline.infra_validate` on that model."""
    label: str | None = None
    """A name for the version, such as champion; an earlier version of that name loses it."""
    rollback: str | None = None
    """In place of a push: the version to serve from now on, by number or label, or "previous". Versions above it are
    withdrawn, not deleted; a withdrawn one comes back by its own number."""

    def __post_init__(self) -> None:
        needed = ("saved_model", "blessing", "infra_validation")
        given = [name for name in needed if getattr(self, name) is not None]
        if self.rollback is not None and given:
            raise ValueError(f"--rollback: expected no --{given[0].replace('_', '-')} beside it")
        if self.rollback is None and len(given) < len(needed):
            missing = next(name for name in needed if name not in given)
            raise ValueError(f"--{missing.replace('_', '-')}: expected a path, got none; a roll-back takes --rollback")
