"""Settings of the covariance estimator. Imports no TensorFlow, so that options are read quickly."""

from typing import Annotated

from annotated_types import Interval

from models.checked import AtLeast0, AtLeast1, NotNegative, checked

Cells = Annotated[int, Interval(ge=3)]
NotPositive = Annotated[float, Interval(le=0)]


@checked(frozen=True)
class GridConfig:
    """Number of cells of the polar grid. Grid points are the centres of the cells."""

    num_azimuth: Cells = 22
    """Cells in sin(azimuth)."""
    num_elevation: Cells = 13
    """Cells in sin(elevation)."""
    num_range: Cells = 10
    """Cells in 1 / range."""

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


@checked(frozen=True)
class RefinementConfig:
    """Off-grid refinement and greedy selection of the atoms. All log-likelihood ratios are in nats."""

    spare_atoms: AtLeast0 = 3
    """Atom slots beyond K_max, for reflections and false detections that later steps remove."""
    steps: AtLeast0 = 2
    """Fisher scoring steps after the grid stages. 0 together with settling_steps = 0 keeps the atoms unrefined."""
    additions: AtLeast0 = 8
    """Greedy selection: largest number of rounds, each of which may add an atom. A scene stops when a round adds
    none."""
    candidates: AtLeast1 = 8
    """Peaks of the unexplained power whose log-likelihood ratio a round computes."""
    addition_steps: AtLeast1 = 2
    """Fisher scoring steps after each round."""
    low_rank_threshold: NotNegative = 6.0
    """A channel with a lower effective rank is a low-rank channel: its scenes start without atoms and each round tests
    every grid point."""
    low_rank_additions: AtLeast1 = 8
    """Low-rank channels: largest number of rounds, one per atom; no rounds if `additions` is 0."""
    directions: AtLeast1 = 6
    """Low-rank channels: number of dominant directions of the channel that the test of all grid points uses."""
    low_rank_llr: NotNegative = 3.0
    """Low-rank channels: log-likelihood ratio above which a grid point is tried. After refinement it needs
    `prune_llr`."""
    low_rank_branches: AtLeast1 = 3
    """Low-rank channels: grid points that a round tries. Each is refined separately and the best one stays; the
    objective includes the path-loss law."""
    low_rank_steps: AtLeast1 = 6
    """Low-rank channels: Fisher scoring steps after each round."""
    settling_steps: AtLeast0 = 3
    """Additional steps, in each refinement, for the scenes that have not converged."""
    tolerance: NotNegative = 0.003
    """A scene has converged when the predicted improvement of the log-likelihood is below this and no atom can be
    pruned."""
    prune_llr: NotNegative = 10.0
    """Smallest log-likelihood ratio at which an atom stays, and at which a new one is added."""
    prune_after: AtLeast0 = 1
    """Number of steps before the first pruning."""
    noise_range_db: tuple[NotPositive, NotNegative] = (-3.0, 20.0)
    """Limits of the estimated noise power relative to the reported one, dB; (0, 0) fixes it. A mismatched channel,
    phase errors and dead elements act as additional noise that scales with the signal."""


@checked(frozen=True)
class StartConfig:
    """The start network, which selects the first atoms from the peaks of the last grid stage."""

    candidates: AtLeast1 = 12
    """Number of peaks that the network reads."""
    width: Annotated[int, Interval(ge=2)] = 48
    """Width of its layers."""
    messages: AtLeast1 = 2
    """Number of message-passing rounds between the candidates."""
    min_presence: Annotated[float, Interval(gt=0, lt=0.5)] = 0.15
    """Smallest probability of being a source at which a candidate becomes an atom."""


@checked(frozen=True)
class BackboneConfig:
    """Architecture and settings of the backbone."""

    stages: AtLeast1 = 1
    """Number of grid stages. The first one is cheap because its S_l is the same for all snapshots. A later one costs as
    much as everything after the grid and improves little, since greedy selection searches the residual again."""
    exponent: float = 1.0
    """beta of the fixed-point update: 1 is fast, 1/2 is monotone."""
    active_atoms: AtLeast1 = 64
    """Grid points kept as atoms of R in the losses and in stages after the first. The power of all others is spread
    evenly over the surface. G gives the exact fixed point."""
    width: AtLeast1 = 16
    """Channels of the hidden layers of a correction."""
    depth: AtLeast1 = 3
    """Number of convolutions of a correction."""
    grid: GridConfig = GridConfig()
    start: StartConfig = StartConfig()
    refinement: RefinementConfig = RefinementConfig()

    def __post_init__(self) -> None:
        if self.active_atoms > self.grid.size:
            raise ValueError(f"active_atoms: expected 1 to {self.grid.size}, got {self.active_atoms!r}")
