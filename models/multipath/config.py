"""Settings of the multipath estimation. Imports no TensorFlow, so that options are read quickly."""

from models.checked import AtLeast0, AtLeast1, Positive, checked


@checked(frozen=True)
class MultipathConfig:
    """Search for reflected paths of the sources."""

    max_paths: AtLeast1 = 16
    """Largest number of reflected paths per scene."""
    rounds: AtLeast0 = 5
    """Largest number of rounds that add paths. A scene stops when a round adds none. 0 disables the search: every atom
    is a separate source."""
    paths_per_round: AtLeast1 = 6
    """Largest number of paths that a round adds."""
    paths_per_source: AtLeast1 = 2
    """Largest number of paths that a round adds to one source."""
    min_llr: Positive = 12.0
    """Smallest log-likelihood ratio of a path. In a scene without reflections the largest one over all directions and
    sources is about 7."""
    steps: AtLeast1 = 3
    """Fisher scoring steps after each round."""
