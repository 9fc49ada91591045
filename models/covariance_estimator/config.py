"""Settings of the covariance estimator. Imports no TensorFlow, so that options are read quickly."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class GridConfig:
    """Number of cells of the polar grid. Grid points are the centres of the cells.

    Raises:
      ValueError: an axis has fewer than three cells.
    """

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
        """Distance of adjacent cells in the flat index, along each axis."""
        return (self.num_elevation * self.num_range, self.num_range, 1)

    @property
    def size(self) -> int:
        """G, number of grid points."""
        return self.num_azimuth * self.num_elevation * self.num_range


@dataclasses.dataclass(frozen=True)
class RefinementConfig:
    """Off-grid refinement and greedy selection of the atoms.

    All log-likelihood ratios are in nats.

    Raises:
      ValueError: a field is out of its range.
    """

    spare_atoms: int = 3
    """Atom slots beyond K_max, for reflections and false detections that later steps remove."""
    steps: int = 2
    """Fisher scoring steps after the grid stages. 0 together with settling_steps = 0 keeps the atoms unrefined."""
    additions: int = 8
    """Greedy selection: largest number of rounds, each of which may add an atom. A scene stops when a round adds
    none."""
    candidates: int = 8
    """Peaks of the unexplained power whose log-likelihood ratio a round computes."""
    addition_steps: int = 2
    """Fisher scoring steps after each round."""
    low_rank_threshold: float = 6.0
    """A channel with a lower effective rank is a low-rank channel: its scenes start without atoms and each round tests
    every grid point."""
    low_rank_additions: int = 8
    """Low-rank channels: largest number of rounds, one per atom; no rounds if `additions` is 0."""
    directions: int = 6
    """Low-rank channels: number of dominant directions of the channel that the test of all grid points uses."""
    low_rank_llr: float = 3.0
    """Low-rank channels: log-likelihood ratio above which a grid point is tried. After refinement it needs
    `prune_llr`."""
    low_rank_branches: int = 3
    """Low-rank channels: grid points that a round tries. Each is refined separately and the best one stays; the
    objective includes the path-loss law."""
    low_rank_steps: int = 6
    """Low-rank channels: Fisher scoring steps after each round."""
    settling_steps: int = 3
    """Additional steps, in each refinement, for the scenes that have not converged."""
    tolerance: float = 0.003
    """A scene has converged when the predicted improvement of the log-likelihood is below this and no atom can be
    pruned."""
    prune_llr: float = 10.0
    """Smallest log-likelihood ratio at which an atom stays, and at which a new one is added."""
    prune_after: int = 1
    """Number of steps before the first pruning."""
    noise_range_db: tuple[float, float] = (-3.0, 20.0)
    """Limits of the estimated noise power relative to the reported one, dB; (0, 0) fixes it. A mismatched channel,
    phase errors and dead elements act as additional noise that scales with the signal."""

    def __post_init__(self) -> None:
        low_rank = ("low_rank_additions", "low_rank_branches", "low_rank_steps")
        for field in ("candidates", "addition_steps", "directions", *low_rank):
            if getattr(self, field) < 1:
                raise ValueError(f"RefinementConfig.{field}: expected at least 1, got {getattr(self, field)!r}")
        amounts = ("steps", "additions", "settling_steps", "tolerance", "prune_after", "prune_llr", "low_rank_llr")
        for field in ("spare_atoms", "low_rank_threshold", *amounts):
            if getattr(self, field) < 0:
                raise ValueError(f"RefinementConfig.{field}: expected at least 0, got {getattr(self, field)!r}")
        if not self.noise_range_db[0] <= 0.0 <= self.noise_range_db[1]:
            raise ValueError(
                "RefinementConfig.noise_range_db: expected (low, high) with low <= 0 <= high, "
                f"got {self.noise_range_db!r}"
            )


@dataclasses.dataclass(frozen=True)
class StartConfig:
    """The start network, which selects the first atoms from the peaks of the last grid stage.

    Raises:
      ValueError: a field is out of its range.
    """

    candidates: int = 12
    """Number of peaks that the network reads."""
    width: int = 48
    """Width of its layers."""
    messages: int = 2
    """Number of message-passing rounds between the candidates."""
    min_presence: float = 0.15
    """Smallest probability of being a source at which a candidate becomes an atom."""

    def __post_init__(self) -> None:
        for field in ("candidates", "messages"):
            if getattr(self, field) < 1:
                raise ValueError(f"StartConfig.{field}: expected at least 1, got {getattr(self, field)!r}")
        if self.width < 2:
            raise ValueError(f"StartConfig.width: expected at least 2, got {self.width!r}")
        if not 0.0 < self.min_presence < 0.5:
            raise ValueError(
                f"StartConfig.min_presence: expected a number in (0, 0.5), got {self.min_presence!r}: an untrained "
                "network outputs 0.5 for every peak"
            )


@dataclasses.dataclass(frozen=True)
class BackboneConfig:
    """Architecture and settings of the backbone.

    Raises:
      ValueError: a field is out of its range.
    """

    stages: int = 1
    """Number of grid stages. The first one is cheap because its S_l is the same for all snapshots. A later one costs as
    much as everything after the grid and improves little, since greedy selection searches the residual again."""
    exponent: float = 1.0
    """beta of the fixed-point update: 1 is fast, 1/2 is monotone."""
    active_atoms: int = 64
    """Grid points kept as atoms of R in the losses and in stages after the first. The power of all others is spread
    evenly over the surface. G gives the exact fixed point."""
    width: int = 16
    """Channels of the hidden layers of a correction."""
    depth: int = 3
    """Number of convolutions of a correction."""
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
