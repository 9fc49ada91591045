"""Settings of the multipath estimation. Imports no TensorFlow, so that options are read quickly."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class MultipathConfig:
    """Search for reflected paths of the sources.

    Raises:
      ValueError: a field is out of its range.
    """

    max_paths: int = 16
    """Largest number of reflected paths per scene."""
    rounds: int = 5
    """Largest number of rounds that add paths. A scene stops when a round adds none. 0 disables the search: every atom
    is a separate source."""
    paths_per_round: int = 6
    """Largest number of paths that a round adds."""
    paths_per_source: int = 2
    """Largest number of paths that a round adds to one source."""
    min_llr: float = 12.0
    """Smallest log-likelihood ratio of a path. In a scene without reflections the largest one over all directions and
    sources is about 7."""
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
