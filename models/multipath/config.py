"""Settings of the search for reflections; light, so that options can be read without TensorFlow."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class MultipathConfig:
    """Reflected paths of the sources."""

    max_paths: int = 16
    """Reflected paths a scene may have."""
    rounds: int = 5
    """Rounds that add paths; a scene that gains none has had its last. 0 takes every atom for a source of its own."""
    paths_per_round: int = 6
    """Paths a round may add."""
    paths_per_source: int = 2
    """Of them, of one source."""
    min_llr: float = 12.0
    """Log-likelihood a path must be worth. Of all directions and sources of a scene without reflections the best is
    worth about 7."""
    steps: int = 3
    """Fisher scoring steps after each round."""

    def __post_init__(self) -> None:
        for field in ("max_paths", "paths_per_round", "paths_per_source", "steps"):
            if getattr(self, field) < 1:
                raise ValueError(f"MultipathConfig.{field}: expected at least 1, got {getattr(self, field)!r}")
        if self.rounds < 0 or self.min_llr <= 0:
            raise ValueError(
                "MultipathConfig.rounds, min_llr: expected at least 0 and a positive number, "
                f"got {self.rounds!r}, {self.min_llr!r}"
            )
