"""Settings of `models.physics`. Imports no TensorFlow, so that options are read quickly."""

from typing import Annotated

from annotated_types import Interval, MinLen

from models.checked import Ascending, InsideUnit, NotNegative, Positive, checked


@checked(frozen=True)
class ShrinkageConfig:
    """Shrinkage of R_eff towards the identity."""

    base_alpha: Positive = 1e-3
    """Scales the shrinkage coefficient at every SNR; 1e-3 gives the table in docs/conventions.md."""
    min_alpha: InsideUnit = 1e-4
    """Smallest shrinkage coefficient."""
    max_alpha: InsideUnit = 0.25
    """Largest shrinkage coefficient."""

    def __post_init__(self) -> None:
        if not self.min_alpha <= self.max_alpha:
            raise ValueError(f"min_alpha: expected at most max_alpha = {self.max_alpha!r}, got {self.min_alpha!r}")


@checked(frozen=True)
class PathLossConfig:
    """Prior on how similar the transmit powers of a scene's sources are."""

    power_spreads_db: Annotated[tuple[NotNegative, ...], MinLen(1), Ascending] = (0.5, 2.0, 5.0, 10.0)
    """Possible standard deviations of the transmit powers about the scene's common power, dB, ascending."""
    spread_shares: tuple[Positive, ...] = (0.9, 0.04, 0.03, 0.03)
    """Prior probability of each standard deviation; need not sum to one."""
    unrelated_share: Annotated[float, Interval(gt=0, le=1)] = 0.05
    """Probability that a source's power is unrelated to the common power; 1 disables the path-loss law."""

    def __post_init__(self) -> None:
        if len(self.spread_shares) != len(self.power_spreads_db):
            raise ValueError(
                f"spread_shares: expected {len(self.power_spreads_db)} positive numbers, got {self.spread_shares!r}"
            )
