"""Settings of `models.physics`. Imports no TensorFlow, so that options are read quickly."""

import dataclasses
import itertools


@dataclasses.dataclass(frozen=True)
class ShrinkageConfig:
    """Shrinkage of R_eff towards the identity."""

    base_alpha: float = 1e-3
    """Scales the shrinkage coefficient at every SNR; 1e-3 gives the table in docs/conventions.md."""
    min_alpha: float = 1e-4
    """Smallest shrinkage coefficient."""
    max_alpha: float = 0.25
    """Largest shrinkage coefficient."""

    def __post_init__(self) -> None:
        if not self.base_alpha > 0:
            raise ValueError(f"ShrinkageConfig.base_alpha: expected a positive number, got {self.base_alpha!r}")
        if not 0 < self.min_alpha <= self.max_alpha < 1:
            raise ValueError(
                "ShrinkageConfig.min_alpha, max_alpha: expected 0 < min_alpha <= max_alpha < 1, "
                f"got {self.min_alpha!r}, {self.max_alpha!r}"
            )


@dataclasses.dataclass(frozen=True)
class PathLossConfig:
    """Prior on how similar the transmit powers of a scene's sources are."""

    power_spreads_db: tuple[float, ...] = (0.5, 2.0, 5.0, 10.0)
    """Possible standard deviations of the transmit powers about the scene's common power, dB, ascending."""
    spread_shares: tuple[float, ...] = (0.9, 0.04, 0.03, 0.03)
    """Prior probability of each standard deviation; need not sum to one."""
    unrelated_share: float = 0.05
    """Probability that a source's power is unrelated to the common power; 1 disables the path-loss law."""

    def __post_init__(self) -> None:
        spreads, shares = self.power_spreads_db, self.spread_shares
        if not spreads or spreads[0] < 0 or any(not low < high for low, high in itertools.pairwise(spreads)):
            raise ValueError(
                f"PathLossConfig.power_spreads_db: expected ascending numbers of at least 0, got {spreads!r}"
            )
        if len(shares) != len(spreads) or not all(share > 0 for share in shares):
            raise ValueError(f"PathLossConfig.spread_shares: expected {len(spreads)} positive numbers, got {shares!r}")
        if not 0 < self.unrelated_share <= 1:
            raise ValueError(
                f"PathLossConfig.unrelated_share: expected a probability in (0, 1], got {self.unrelated_share!r}"
            )
