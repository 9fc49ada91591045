"""Parts of the view: motion inside the field of view, pictures of a spectrum, limits of uploads, allowed hosts."""

import asyncio
import json
import math
import os
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from models.physics.geometry import FieldOfView, Scenario
from pipeline.figures import space
from pipeline.view.drawings import drawings
from pipeline.view.frames import spectrum
from pipeline.view.guard import is_own_host
from pipeline.view.motion import Motion, draw_motion
from pipeline.view.uploads import TooLarge, Uploads
from tests.simulated import batch_of, inputs_of
from tfds_shards.simulator import CONFIGS, Moment, simulate_scene
from tfds_shards.sources import Sources, draw_sources


def test_sources_turn_at_the_limits() -> None:
    view = FieldOfView(azimuth_deg=(-60.0, 60.0), range_m=(1.0, 3.0))
    start = Sources(np.zeros(1), np.zeros(1), np.array([2.0]))
    motion = Motion(view, start, np.array([[0.1], [0.0], [-0.25]]))
    ranges_m = [float(motion.at(time_s).range_m[0]) for time_s in (0.0, 1.0, 2.0, 3.0, 6.0, 8.0)]
    np.testing.assert_allclose(ranges_m, [2.0, 1.5, 1.0, 1.5, 3.0, 2.0])
    np.testing.assert_allclose(np.degrees(motion.at(5.0).azimuth), 60.0)


def test_sources_stay_in_the_field_of_view_and_move_without_jumps() -> None:
    view, rng = FieldOfView(), np.random.default_rng(3)
    motion = draw_motion(rng, view, draw_sources(rng, view, 4))
    way = np.stack([np.stack(motion.at(time_s)) for time_s in np.arange(0.0, 300.0, 0.5)])
    for axis, (low, high) in enumerate((view.azimuth, view.elevation, view.range_m)):
        assert low <= way[:, axis].min() and way[:, axis].max() <= high
        steps = np.abs(np.diff(way[:, axis], axis=0))
        assert 0 < steps.max() <= 0.5 * (high - low) / 30.0 + 1e-9


def test_a_moment_moves_sources_and_draws_noise_anew_and_nothing_else() -> None:
    config = CONFIGS["l64_m64"]
    scene = simulate_scene(config, "test", 5)
    view = config.scenario.field_of_view
    places = draw_sources(np.random.default_rng(1), view, 2)
    one, same, later = (simulate_scene(config, "test", 5, Moment(number, places)) for number in (1, 1, 2))
    np.testing.assert_array_equal(one.snapshots, same.snapshots)
    assert np.abs(one.snapshots - later.snapshots).max() > 0
    for moment in (one, later):
        np.testing.assert_array_equal(moment.channel, scene.channel)
        assert moment.snr_db == scene.snr_db and moment.num_sources == 2
        np.testing.assert_allclose(moment.range_m[:2], places.range_m, rtol=1e-6)


def test_pictures_of_a_spectrum() -> None:
    power = np.ones((3, 4, 2))
    power[1, 2, 0] = 10.0
    axes = {"azimuth_deg": np.arange(3.0), "elevation_deg": np.arange(4.0), "range_m": np.array([1.0, 0.5])}
    told = spectrum({"spectrum": power[None]} | {name: axis[None] for name, axis in axes.items()})
    assert np.shape(told["range"]) == (2, 3) and np.shape(told["elevation_slice"]) == (4, 3)
    assert told["range"][0][1] == told["elevation"][2][1] == 0.0 and told["floor_db"] == -10.0
    assert np.max(told["range_slice"][1]) == -10.0
    np.testing.assert_allclose(1.0 / np.array(told["range_m"]), [0.5, 1.5, 2.5], rtol=1e-3)


def test_an_ellipsoid_holds_what_it_says() -> None:
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 3))
    semi_axes_m = space.semi_axes_m(root @ root.T)
    assert semi_axes_m is not None and space.semi_axes_m(np.full((3, 3), math.nan)) is None
    inside = np.linalg.norm(np.linalg.solve(semi_axes_m, root @ rng.normal(size=(3, 20_000))), axis=0) <= 1.0
    assert inside.mean() == pytest.approx(space.PROBABILITY, abs=0.01)


def test_all_that_stays_in_the_picture_lies_inside_its_axes() -> None:
    drawn = json.loads(json.dumps(drawings(Scenario()), allow_nan=False))
    low, high = np.array(drawn["space"]["limits_m"]).T
    edges = np.array([point for point in drawn["space"]["edges_m"] if point is not None])
    for points in (edges, np.array(drawn["space"]["surface_m"])):
        assert (low <= points).all() and (points <= high).all()
    assert np.linalg.norm(edges, axis=1).max() == pytest.approx(Scenario().field_of_view.range_m[1], rel=1e-4)
    assert drawn["spectrum"]["range_m"] == list(Scenario().field_of_view.range_m)
    assert len(set(drawn["spectrum"]["colours"])) > 32


def received(uploads: Uploads, *parts: bytes) -> Path:
    async def stream() -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    return asyncio.run(uploads.receive(stream()))


def test_uploads_are_bounded_and_one_is_kept(tmp_path: Path) -> None:
    np.savez(tmp_path / "any.npz", **inputs_of(batch_of(2)))
    content = (tmp_path / "any.npz").read_bytes()
    uploads = Uploads(10**6)
    try:
        with pytest.raises(TooLarge, match=r"expected at most 1 MB \(--upload-mb\)"):
            received(uploads, bytes(10**6), b"x")
        first = uploads.scenes(received(uploads, content[:1000], content[1000:]), "first.npz")
        second = uploads.scenes(received(uploads, content), "second.npz")
        assert [len(scenes.file) for scenes in (first, second)] == [2, 2]
        with pytest.raises(ValueError, match=r"^broken\.npz: expected a whole \.npz file"):
            uploads.scenes(received(uploads, content[:1000]), "broken.npz")
        assert os.listdir(second.file.path.parent) == [second.file.path.name]
        shot = second.following(1.0)
        assert shot is not None and shot.title == "scene 1 of 2"
    finally:
        uploads.close()
    assert not second.file.path.parent.exists()


def test_what_unzips_to_too_much_is_refused_unread(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", snapshots=np.zeros((1, 2**20), np.complex64))
    uploads = Uploads(10**5)
    try:
        path = received(uploads, (tmp_path / "bomb.npz").read_bytes())
        with pytest.raises(ValueError, match=r"^bomb\.npz: expected arrays of at most 0\.8 MB$"):
            uploads.scenes(path, "bomb.npz")
    finally:
        uploads.close()


@pytest.mark.parametrize("host", ["localhost:8600", "127.0.0.1:1", "[::1]:80", "192.168.1.7"])
def test_own_hosts(host: str) -> None:
    assert is_own_host(host)


@pytest.mark.parametrize("host", ["", "evil.example", "localhost.evil.example:8600", "127.0.0.1.evil.example", "[::1"])
def test_strange_hosts(host: str) -> None:
    assert not is_own_host(host)
