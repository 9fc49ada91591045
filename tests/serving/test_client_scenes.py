"""What the client says of a scene: objects with attributes, plain data, a picture, and why there may be no source."""

import json
import subprocess
import sys
from pathlib import Path

import matplotlib.figure
import numpy as np
import pytest

from serving.client import Place, Scene, Source, Truth, scenes_of
from serving.client.command import main
from tests.serving.scripted_server import ANTENNAS, ELEMENTS, ScriptedServer, outputs_of

ROOT = Path(__file__).parents[2]


def source(azimuth_deg: float, range_m: float) -> Source:
    place = Place.at(azimuth_deg, -5.0, range_m)
    covariance_m2 = np.diag([0.04, 0.01, 0.01]) + 0.005
    return Source(azimuth_deg, -5.0, range_m, place.position_m, -3.0, 0.9, covariance_m2, 2, {"residual": 0.5})


SCENE = Scene((source(20.0, 1.5), source(-40.0, 3.0)), 7, {"refined": True})


def test_a_scene_is_its_entry_in_the_json_file_and_back() -> None:
    entry = json.loads(json.dumps(SCENE.to_dict(), allow_nan=False))
    assert Scene.from_dict(entry) == SCENE
    assert entry["num_sources"] == 2 and entry["model_version"] == 7 and entry["refined"] is True
    assert entry["sources"][0]["num_paths"] == 2 and entry["sources"][0]["residual"] == 0.5
    more = {"refined": np.array([True]), "num_paths": np.array([[2, 0]], np.int32)}
    (told,) = scenes_of(outputs_of(1, **more), 3)
    assert Scene.from_dict(told).to_dict() == told


def test_scenes_with_other_numbers_differ() -> None:
    assert Scene((source(20.0, 1.5),)) != Scene((source(20.0, 1.6),))
    assert SCENE.sources[0] != Place.at(20.0, -5.0, 1.5)


def test_attributes_have_units_and_shapes() -> None:
    found = SCENE.sources[0]
    assert SCENE.num_sources == len(SCENE.sources) == 2
    assert SCENE.positions_m.shape == (2, 3)
    assert found.position_m.shape == (3,) and found.position_cov_m2.shape == (3, 3)
    np.testing.assert_allclose(np.linalg.norm(found.position_m), found.range_m)
    assert found.position_error_m == pytest.approx(np.sqrt(0.06 + 3 * 0.005))


def test_the_place_of_angles_and_range_is_that_of_the_conventions() -> None:
    np.testing.assert_allclose(Place.at(90.0, 0.0, 2.0).position_m, [0.0, 2.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(Place.at(0.0, 30.0, 2.0).position_m, [np.sqrt(3.0), 0.0, 1.0], atol=1e-12)


def test_repr_can_be_read() -> None:
    said = repr(SCENE)
    for part in ("2 sources", "20.00 deg", "-40.00 deg", "1.500 m", "score 0.90"):
        assert part in said
    assert "array(" not in said


def test_a_scene_without_sources_says_why_that_may_be() -> None:
    assert SCENE.hint == ""
    hint = Scene(()).hint
    for cause in ("conjugated", "reordered", "channel", "SNR", "weak"):
        assert cause in hint
    assert "hint" in repr(Scene(()))
    assert Scene(()).positions_m.shape == (0, 3)


def test_an_entry_without_a_field_is_refused_by_name() -> None:
    entry = SCENE.to_dict()
    del entry["sources"][1]["score"]
    with pytest.raises(ValueError, match=r"^score: expected a field of that name"):
        Scene.from_dict(entry)


# Pictures


def points(figure: matplotlib.figure.Figure, panel: int) -> set[tuple[float, float]]:
    """All markers of a panel."""
    return {
        (round(float(x), 6), round(float(y), 6))
        for line in figure.axes[panel].lines
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    }


@pytest.mark.parametrize("truth", [Truth((Place.at(21.0, -5.0, 1.4),)), [Place.at(21.0, -5.0, 1.4).position_m]])
def test_a_plot_shows_found_and_true_sources_from_above_and_aside(tmp_path: Path, truth) -> None:
    figure = SCENE.plot(truth=truth)
    true_m = Place.at(21.0, -5.0, 1.4).position_m
    for x, y, z in (*SCENE.positions_m, true_m):
        assert (round(x, 6), round(y, 6)) in points(figure, 0)
        assert (round(float(np.hypot(x, y)), 6), round(z, 6)) in points(figure, 1)
    assert len(points(SCENE.plot(), 0)) == len(points(figure, 0)) - 1
    figure.savefig(tmp_path / "scene.png")
    assert (tmp_path / "scene.png").stat().st_size > 5_000


def test_a_plot_shows_errors_as_ellipses_of_ninety_percent() -> None:
    """Nine of ten errors drawn from the covariance lie inside."""
    figure = Scene((source(20.0, 1.5),)).plot()
    (ellipse,) = figure.axes[0].patches
    found = SCENE.sources[0]
    errors = np.random.default_rng(0).multivariate_normal(np.zeros(2), found.position_cov_m2[:2, :2], 4_000)
    inside = ellipse.get_path().contains_points(
        ellipse.get_patch_transform().inverted().transform(found.position_m[:2] + errors)
    )
    assert inside.mean() == pytest.approx(0.9, abs=0.02)


def test_a_plot_goes_onto_given_axes_and_a_scene_without_sources_has_one() -> None:
    panels = matplotlib.figure.Figure().subplots(1, 2)
    assert Scene(()).plot(truth=[[1.0, 0.0, 0.0]], axes=panels) is panels[0].figure
    assert len(panels[0].lines) == 2
    with pytest.raises(ValueError, match=r"^truth: expected .*\[K, 3\], got \[3\]"):
        SCENE.plot(truth=np.ones(3))


def test_the_client_needs_no_matplotlib_until_it_plots() -> None:
    code = "import sys, serving.client.scene, serving.client.command; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


# What the command says


def counted(counts: list[int]):
    """A server that finds so many sources, a scene after the other."""
    left = iter(counts)

    def predict(request, context):
        batch = request.inputs["snapshots"].tensor_shape.dim[0].size
        number = np.array([next(left) for _ in range(batch)], np.int32)
        filled = {
            name: np.nan_to_num(value) if value.dtype.kind == "f" else value
            for name, value in outputs_of(batch).items()
        }
        return {**filled, "num_sources": number}

    return predict


def written(path: Path, scenes: int, **changes: np.ndarray) -> Path:
    arrays = {
        "snapshots": np.ones((scenes, 4, ANTENNAS), np.complex64),
        "ris_codes": np.ones((4, ELEMENTS), np.complex64),
        "channel": np.ones((ANTENNAS, ELEMENTS), np.complex64),
        "snr_db": np.full(scenes, 10.0, np.float32),
    }
    np.savez(path, **{**arrays, **changes})
    return path


def said(capsys: pytest.CaptureFixture[str], counts: list[int], *options: str) -> tuple[str, str]:
    with ScriptedServer(counted(counts)) as server:
        main(["--target", server.target, *options, "--batch_size", "2"])
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_the_command_counts_sources_and_names_scenes_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, output = written(tmp_path / "m.npz", 3), tmp_path / "out.json"
    out, _ = said(capsys, [2, 1, 1], "--input", str(path), "--output", str(output))
    assert out == f"{output}: 3 scenes, 4 sources found\n"
    out, _ = said(capsys, [2, 0, 1], "--input", str(path), "--output", str(output))
    first, *causes = out.splitlines()
    assert first == f"{output}: 3 scenes, 3 sources found; none in scene 1 (counted from 0)"
    for cause in ("conjugated", "reordered", "channel", "SNR", "weak"):
        assert cause in "\n".join(causes)
    assert [scene["num_sources"] for scene in json.loads(output.read_text())] == [2, 0, 1]


def test_the_command_counts_every_output_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(written(tmp_path / name, 1)) for name in ("a.npz", "b.npz")]
    out, _ = said(capsys, [1, 0], "--input", *paths, "--output-dir", str(tmp_path / "found"))
    assert out.splitlines()[:2] == [
        f"{tmp_path / 'found' / 'a.json'}: 1 scene, 1 source found",
        f"{tmp_path / 'found' / 'b.json'}: 1 scene, 0 sources found; none in scene 0 (counted from 0)",
    ]


def test_many_scenes_without_sources_are_not_all_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "m.npz", 30)
    out, _ = said(capsys, [0] * 30, "--input", str(path), "--output", str(tmp_path / "out.json"))
    assert "none in scenes 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 20 more (counted from 0)" in out


def test_the_command_warns_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "m.npz", 5, snr_db=np.full(5, 100.0))
    _, err = said(capsys, [1] * 5, "--input", str(path), "--output", str(tmp_path / "out.json"))
    warned = [line for line in err.splitlines() if "warning" in line]
    assert len(warned) == 1
    assert warned[0].startswith(
        f"serving.client: warning: {path}: snr_db: expected an SNR of at most 50 dB, got 100 dB"
    )
