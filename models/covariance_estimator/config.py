"""Settings of the covariance estimator; light, so that options can be read without TensorFlow."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class GridConfig:
    """Cells of the polar grid; points are the cells' centres."""

    num_azimuth: int = 22
    """Cells in sin(azimuth)."""
    num_elevation: int = 13
    """Cells in sin(elevation)."""
    num_range: int = 10
    """Cells in 1 / range."""

    def __post_init__(self) -> None:
        for field in ("num_azimuth", "num_elevation", "num_range"):
            if getattr(self, field) < 3:
                raise ValueError(f"GridConfig.{field}: expected at least 3 cells, got {getattr(self, field)!r}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(azimuth, elevation, range) cells."""
        return (self.num_azimuth, self.num_elevation, self.num_range)

    @property
    def strides(self) -> tuple[int, int, int]:
        """Steps in the flat index from a cell to the next along each axis."""
        return (self.num_elevation * self.num_range, self.num_range, 1)

    @property
    def size(self) -> int:
        """G."""
        return self.num_azimuth * self.num_elevation * self.num_range


@dataclasses.dataclass(frozen=True)
class RefinementConfig:
    """Off-grid refinement of the backbone."""

    spare_atoms: int = 3
    """Atom slots beyond K_max, for what looks like a source until reflections and scores are known."""
    steps: int = 2
    """Fisher scoring steps after the grid stages; 0, without settling steps, leaves atoms where the grid has them."""
    additions: int = 8
    """Most rounds in which what the atoms leave unexplained may add an atom; a scene that gains none has its last."""
    candidates: int = 8
    """Peaks of the unexplained power that a round tests for the likelihood they would add."""
    addition_steps: int = 2
    """Fisher scoring steps after each round."""
    low_rank_threshold: float = 6.0
    """Scenes whose channel has a lower effective rank start from no atom, and rounds test every grid point."""
    low_rank_additions: int = 8
    """Most rounds there, where every atom takes one; none where `additions` is 0."""
    directions: int = 6
    """Strongest directions of such a channel that the test of all grid points keeps."""
    low_rank_llr: float = 3.0
    """Log-likelihood a grid point must promise there to be tried; refined, it must be worth `prune_llr`."""
    low_rank_branches: int = 3
    """Grid points a round tries there, each refined on its own: the likeliest stays, its powers weighed."""
    low_rank_steps: int = 6
    """Fisher scoring steps after each round there."""
    settling_steps: int = 3
    """Further steps, each time, of the scenes that have not settled."""
    tolerance: float = 0.003
    """A scene has settled when a step promises less log-likelihood than this and every atom is worth its gain."""
    prune_llr: float = 10.0
    """Log-likelihood an atom must be worth to stay, and a new one must bring."""
    prune_after: int = 1
    """Steps before atoms may be dropped."""
    noise_range_db: tuple[float, float] = (-3.0, 20.0)
    """Limits of the estimated noise power above the reported one, dB; (0, 0) trusts the report. What a mismatched
    channel, phase errors or dead elements add acts as noise that follows the signal."""

    def __post_init__(self) -> None:
        counts = (
            "candidates",
            "addition_steps",
            "directions",
            "low_rank_additions",
            "low_rank_branches",
            "low_rank_steps",
        )
        for field in counts:
            if getattr(self, field) < 1:
                raise ValueError(f"RefinementConfig.{field}: expected at least 1, got {getattr(self, field)!r}")
        amounts = ("steps", "additions", "settling_steps", "tolerance", "prune_after", "prune_llr", "low_rank_llr")
        for field in ("spare_atoms", "low_rank_threshold", *amounts):
            if getattr(self, field) < 0:
                raise ValueError(f"RefinementConfig.{field}: expected at least 0, got {getattr(self, field)!r}")
        if not self.noise_range_db[0] <= 0.0 <= self.noise_range_db[1]:
            raise ValueError(
                f"RefinementConfig.noise_range_db: expected (low, high) about 0, got {self.noise_range_db!r}"
            )


@dataclasses.dataclass(frozen=True)
class StartConfig:
    """The network that reads a start off the last grid stage."""

    candidates: int = 12
    """Peaks it looks at."""
    width: int = 48
    """Size of its layers."""
    messages: int = 2
    """Rounds of messages between the candidates."""
    min_presence: float = 0.15
    """Probability of being a source below which a candidate is no atom at the start."""

    def __post_init__(self) -> None:
        for field in ("candidates", "messages"):
            if getattr(self, field) < 1:
                raise ValueError(f"StartConfig.{field}: expected at least 1, got {getattr(self, field)!r}")
        if self.width < 2:
            raise ValueError(f"StartConfig.width: expected at least 2, got {self.width!r}")
        if not 0.0 < self.min_presence < 0.5:
            raise ValueError(
                f"StartConfig.min_presence: expected a number in (0, 0.5), got {self.min_presence!r}: an untrained "
                "network gives every peak one half"
            )


@dataclasses.dataclass(frozen=True)
class BackboneConfig:
    """Shape of the unrolled estimator."""

    stages: int = 1
    """Grid stages; the first is nearly free, its S_l is the same for all snapshots. Later ones cost as much as all that
    follows and gain little, since what the first atoms leave unexplained is searched again."""
    exponent: float = 1.0
    """beta of the fixed point: 1 is fast, 1/2 monotone."""
    active_atoms: int = 64
    """Grid atoms kept as atoms in R, by the losses and by stages after the first; the power of the others is spread
    evenly (G: the exact fixed point)."""
    width: int = 16
    """Channels of a correction's hidden layers."""
    depth: int = 3
    """Convolutions of a correction."""
    grid: GridConfig = GridConfig()
    start: StartConfig = StartConfig()
    refinement: RefinementConfig = RefinementConfig()

    def __post_init__(self) -> None:
        if self.stages < 1:
            raise ValueError(f"BackboneConfig.stages: expected at least 1, got {self.stages!r}")
        if not 1 <= self.active_atoms <= self.grid.size:
            raise ValueError(f"BackboneConfig.active_atoms: expected 1..{self.grid.size}, got {self.active_atoms!r}")
        if self.width < 1 or self.depth < 1:
            raise ValueError(f"BackboneConfig.width, depth: expected at least 1, got {self.width!r}, {self.depth!r}")
