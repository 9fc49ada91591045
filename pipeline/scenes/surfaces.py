"""Fingerprints of surfaces, to check that a calibration file belongs to an installation."""

from models.physics.geometry import RISArray
from pipeline.common.digests import json_digest
from pipeline.common.records import plain
from serving.client.calibration import Calibration


def surface_fingerprint(array: RISArray) -> str:
    """SHA-256 of the parameters of a surface."""
    return json_digest(plain(array))


def check_surface(calibration: Calibration, array: RISArray) -> None:
    """Checks that a calibration was made for a surface; the message names the first parameter that differs."""
    calibration.check(array.num_elements)
    if calibration.about.get("surface_fingerprint") == surface_fingerprint(array):
        return
    made_for, expected = calibration.about.get("surface", {}), plain(array)
    name = next((name for name in expected if made_for.get(name) != expected[name]), "surface")
    raise ValueError(
        f"--calibration: expected one of the installation's surface, {name} = {expected.get(name)!r}, "
        f"got one of {name} = {made_for.get(name)!r}"
    )
