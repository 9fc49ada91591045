"""Fingerprints of surfaces, to check that a calibration file belongs to an installation."""

from models.physics.geometry import RISArray
from pipeline.common.records import plain
from serving.client.calibration import Calibration, surface_digest


def surface_fingerprint(array: RISArray) -> str:
    """SHA-256 of the parameters of a surface."""
    return surface_digest(plain(array))


def check_surface(calibration: Calibration, array: RISArray) -> None:
    """Raises ValueError if a calibration was made for another surface; names the first parameter that differs."""
    calibration.check(array.num_elements)
    calibration.check_surface(plain(array))
