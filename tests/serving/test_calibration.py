"""Calibration files as the client reads and applies them, without TensorFlow."""

import json
from pathlib import Path

import numpy as np
import pytest

from serving.client.calibration import Calibration, read_calibration
from serving.client.measurement import Measurement

ANTENNAS, ELEMENTS = 3, 5
RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return (RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)).astype(np.complex64)


CHANNEL, CORRECTION, RESPONSE = normal(ANTENNAS, ELEMENTS), 0.1 * normal(ANTENNAS, ELEMENTS), normal(ELEMENTS)


def measurement(channel: np.ndarray) -> Measurement:
    channels = np.broadcast_to(channel, (2, ANTENNAS, ELEMENTS))
    return Measurement(normal(2, 4, ANTENNAS), normal(2, 4, ELEMENTS), channels, np.zeros(2, np.float32))


def written(path: Path, **changes: np.ndarray | None) -> Path:
    arrays = {"element_response": RESPONSE, "about": np.array(json.dumps({"scenes": 7})), **changes}
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def test_codes_are_sent_as_the_surface_applies_them(tmp_path: Path) -> None:
    calibration = read_calibration(written(tmp_path / "c.npz"))
    told = measurement(CHANNEL)
    sent = calibration.of(told)
    np.testing.assert_allclose(sent.ris_codes, told.ris_codes * RESPONSE)
    assert sent.ris_codes.dtype == np.complex64
    for name in ("snapshots", "channel", "snr_db"):
        np.testing.assert_array_equal(getattr(sent, name), getattr(told, name))
    assert calibration.about == {"scenes": 7}


@pytest.mark.parametrize("factor", [1.0, 40.0, -2.0j])
def test_a_channel_is_corrected_in_its_own_units(tmp_path: Path, factor: complex) -> None:
    calibration = read_calibration(written(tmp_path / "c.npz", channel=CHANNEL, channel_correction=CORRECTION))
    sent = calibration.of(measurement((factor * CHANNEL).astype(np.complex64)))
    np.testing.assert_allclose(sent.channel[1], factor * (CHANNEL + CORRECTION), rtol=1e-4)


def test_what_it_was_not_made_for_is_refused() -> None:
    calibration = Calibration(RESPONSE, CHANNEL, CORRECTION, {})
    with pytest.raises(ValueError, match="--calibration: expected one of a surface of 6 elements, got one of 5"):
        calibration.check(6)
    with pytest.raises(ValueError, match="--calibration: expected the channel that its correction was made for"):
        calibration.of(measurement(CHANNEL + CORRECTION))
    with pytest.raises(ValueError, match=r"expected channels of shape \[3, 5\], got \[2, 5\]"):
        calibration.corrected(CHANNEL[:2])


def test_what_is_no_calibration_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a calibration file, found none"):
        read_calibration(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    for path in (
        tmp_path / "text.npz",
        written(tmp_path / "a.npz", about=None),
        written(tmp_path / "b.npz", element_response=None),
        written(tmp_path / "c.npz", element_response=np.full(5, np.nan, np.complex64)),
    ):
        with pytest.raises(ValueError, match=r"\.npz: ") as refused:
            read_calibration(path)
        assert "\n" not in str(refused.value)
