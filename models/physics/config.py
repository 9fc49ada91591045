"""Settings of the physics floor; light, so that options can be read without TensorFlow."""

import dataclasses
import itertools


@dataclasses.dataclass(frozen=True)
class ShrinkageConfig:
    """Shrinkage of R_eff, driven by one base alpha."""

    base_alpha: float = 1e-3
    """Scales the shrinkage at every SNR; 1e-3 gives the table of docs/conventions.md."""
    min_alpha: float = 1e-4
    """Lower clip of the shrinkage coefficient."""
    max_alpha: float = 0.25
    """Upper clip of the shrinkage coefficient."""

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
    """How far transmit powers may be trusted to be alike."""

    power_spreads_db: tuple[float, ...] = (0.5, 2.0, 5.0, 10.0)
    """Standard deviations of the sources' transmit powers about a common one that a scene may have, dB, rising."""
    spread_shares: tuple[float, ...] = (0.9, 0.04, 0.03, 0.03)
    """Share of scenes with each of them, before anything is seen; of the sum."""
    unrelated_share: float = 0.05
    """Probability that a source follows no common power; 1 leaves the law out."""

    def __post_init__(self) -> None:
        spreads, shares = self.power_spreads_db, self.spread_shares
        if not spreads or spreads[0] < 0 or any(not low < high for low, high in itertools.pairwise(spreads)):
            raise ValueError(f"PathLossConfig.power_spreads_db: expected rising numbers of at least 0, got {spreads!r}")
        if len(shares) != len(spreads) or not all(share > 0 for share in shares):
            raise ValueError(
                f"PathLossConfig.spread_shares: expected {len(spreads)} positive numbers, one a spread, got {shares!r}"
            )
        if not 0 < self.unrelated_share <= 1:
            raise ValueError(
                f"PathLossConfig.unrelated_share: expected a share in (0, 1], got {self.unrelated_share!r}"
            )
