"""Installation files, and the values that depend on the installation: grids, gates, steps. Weights fit all
installations."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.artifacts import moved_to
from models.config import LocalizerConfig
from models.covariance_estimator.backbone import Backbone
from models.covariance_estimator.config import BackboneConfig, GridConfig
from models.covariance_estimator.grids import default_grid, moved_grid
from models.localizer import Localizer
from models.localizer_weights import LocalizerWeights
from models.multipath.config import MultipathConfig
from models.physics.geometry import FieldOfView, RISArray, Scenario
from models.physics.installation import installation_id, load_installation
from tests.conftest import TINY
from tests.simulated import batch_of, inputs_of
from tfds_shards.simulator import SceneConfig

INSTALLATIONS = Path(__file__).parents[2] / "docs" / "installations"
EVERYTHING = """
[array]
rows = 12
columns = 12
wavelength_m = 0.3
spacing_m = 0.15
wavefront = "spherical"
amplitude = "uniform"
element_exponent = 0
[base_station]
antennas = 16
[field_of_view]
azimuth_deg = [-60, 60]
elevation_deg = [-30.0, 30.0]
range_m = [0.5, 10.0]
[sources]
max_sources = 5
"""


def load(tmp_path: Path, text: str) -> Scenario:
    path = tmp_path / "site.toml"
    path.write_text(text, encoding="utf-8")
    return load_installation(path)


# Files


@pytest.mark.parametrize("text", ["", EVERYTHING, "[array]\nwavelength_m = 0.3"])
def test_the_default_installation_in_words(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) == Scenario()
    assert installation_id(load(tmp_path, text)) == "default"


def test_every_field_arrives(tmp_path: Path) -> None:
    text = """
    [array]
    rows = 6
    columns = 8
    wavelength_m = 0.1
    wavefront = "fresnel"
    amplitude = "spherical"
    element_exponent = 0.5
    [base_station]
    antennas = 4
    [field_of_view]
    azimuth_deg = [-10.0, 50.0]
    elevation_deg = [-20.0, 0.0]
    range_m = [1.0, 30.0]
    [sources]
    max_sources = 3
    """
    array = RISArray(8, 6, 0.1, 0.05, "fresnel", amplitude="spherical", element_exponent=0.5)
    view = FieldOfView((-10.0, 50.0), (-20.0, 0.0), (1.0, 30.0))
    assert load(tmp_path, text) == Scenario(array, view, num_antennas=4, max_sources=3)


def test_positions_in_place_of_a_lattice(tmp_path: Path) -> None:
    found = load(tmp_path, "[array]\npositions_m = [[0.0, 0.1], [0.2, -0.1], [-0.2, 0]]")
    np.testing.assert_array_equal(found.array.element_positions_m(), [[0.0, 0.1], [0.2, -0.1], [-0.2, 0.0]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[surface]", "surface: unknown, expected one of array, base_station, field_of_view, sources"),
        ("[array]\nrow = 3", "array.row: unknown, expected one of rows, columns,"),
        ("[array]\nrows = 0", "array.rows: expected 1 or more, got 0"),
        ("[array]\nrows = 2.5", "array.rows: expected a whole number, got 2.5"),
        ("[array]\ncolumns = true", "array.columns: expected a whole number, got True"),
        ("[array]\nwavelength_m = -0.1", "array.wavelength_m: expected a positive number, got -0.1"),
        ("[array]\nspacing_m = nan", "array.spacing_m: expected a finite number, got nan"),
        ('[array]\namplitude = "round"', "array.amplitude: expected one of uniform, spherical, got 'round'"),
        ("[array]\nwavefront = 1", "array.wavefront: expected one of spherical, fresnel, got 1"),
        ("[array]\nelement_exponent = -1", "array.element_exponent: expected 0 to 8, got -1"),
        ("[array]\npositions_m = [[0, 0]]", "array.positions_m: expected at least 2 pairs"),
        ("[array]\npositions_m = [[0, 0], [0]]", r"array.positions_m\[1\]: expected 2 values, got \(0,\)"),
        ("[array]\nrows = 2\npositions_m = [[0, 0], [0, 1]]", "array.rows: expected either a lattice or positions_m"),
        ("array = 3", r"array: expected a table \[array\], got 3"),
        ("[field_of_view]\nrange_m = [2, 1]", "field_of_view.range_m: expected ascending numbers, got .2.0, 1.0."),
        ("[field_of_view]\nrange_m = [0.5]", r"field_of_view.range_m: expected 2 values, got \[0.5\]"),
        ("[field_of_view]\nazimuth_deg = [-90, 0]", r"field_of_view.azimuth_deg\[0\]: expected -85 to 85, got -90"),
        ("[sources]\nmax_sources = 0", "sources.max_sources: expected 1 or more, got 0"),
        ("[array", "site.toml: expected a TOML file, got: Expected"),
    ],
)
def test_what_cannot_be_is_one_line_that_names_the_field(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        load(tmp_path, text)
    assert "\n" not in str(refused.value) and "site.toml" in str(refused.value)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent\.toml: expected a TOML file, got: No such file"):
        load_installation(tmp_path / "absent.toml")


def test_identity_is_of_what_is_other_than_the_default(tmp_path: Path) -> None:
    """Equivalent files give the same identity, different installations different ones. It is part of data set names."""
    one = load(tmp_path, "[array]\nwavelength_m = 0.01")
    same = load(tmp_path, "# words\n[array]\nspacing_m = 0.005\nwavelength_m = 0.01\nrows = 12")
    assert installation_id(one) == installation_id(same) == "a42f3e8c"
    others = {installation_id(load(tmp_path, f"[array]\n{text}")) for text in ("rows = 3", "columns = 3", "rows = 4")}
    assert len(others | {installation_id(one)}) == 4


# Dependent values


def test_grids_follow_aperture_wavelength_and_field_of_view() -> None:
    default = Scenario()
    assert default_grid(default.array, default.field_of_view) == GridConfig(22, 13, 10) == BackboneConfig().grid
    assert default_grid(default.array, default.field_of_view, density=2) == GridConfig(44, 26, 20)
    at_28_ghz = load_installation(INSTALLATIONS / "28ghz.toml")
    assert default_grid(at_28_ghz.array, at_28_ghz.field_of_view).shape == (24, 17, 3)
    missing = load_installation(INSTALLATIONS / "missing_quarter.toml")
    assert missing.array.num_elements == 108
    assert default_grid(missing.array, missing.field_of_view) == BackboneConfig().grid
    wide = RISArray(24, 12)
    assert default_grid(wide, default.field_of_view).shape == (44, 13, 40)  # twice as wide: 1/2 beam, 1/4 depth
    assert moved_grid(GridConfig(11, 13, 5), default, Scenario(wide)) == GridConfig(22, 13, 20)
    assert moved_grid(TINY.grid, default, Scenario(RISArray(wavefront="fresnel"))) == TINY.grid


def test_gates_follow_the_field_of_view() -> None:
    assert (FieldOfView().gate_angle_deg, FieldOfView().gate_range_m) == (5.0, 1.0)
    assert FieldOfView(range_m=(0.5, 100.0)).gate_range_m == 1.0
    near = FieldOfView((-12.0, 12.0), (-30.0, 30.0), (0.2, 2.1))
    assert near.gate_angle_deg == 2.0
    assert near.gate_range_m == pytest.approx(0.2)


@pytest.mark.promise("own surface")
def test_weights_serve_any_installation() -> None:
    """The corrections apply to any grid. Converting weights to another installation and back changes nothing."""
    weights = LocalizerWeights(Backbone(Scenario(), TINY))
    rng = np.random.default_rng(0)
    weights.set_weights([rng.normal(size=value.shape) for value in weights.get_weights()])
    installation = load_installation(INSTALLATIONS / "28ghz.toml")
    moved = moved_to(weights, installation)
    assert moved.backbone.scenario == installation
    assert moved.backbone.config.grid == GridConfig(12, 9, 3)
    back = moved_to(moved, Scenario())
    assert back.backbone.config.grid == GridConfig(11, 7, 10)  # three range cells are the minimum
    for there, original in zip(moved.get_weights(), weights.get_weights(), strict=True):
        np.testing.assert_array_equal(there, original)


@pytest.mark.parametrize("name", ["28ghz", pytest.param("missing_quarter", marks=pytest.mark.extended)])
@pytest.mark.promise("own surface")
def test_loud_sources_of_other_installations_are_found(name: str) -> None:
    """The untrained localizer needs only the installation."""
    scenario = dataclasses.replace(load_installation(INSTALLATIONS / f"{name}.toml"), max_sources=2)
    batch = batch_of(10, SceneConfig("loud", scenario, snr_db=(20.0, 20.0)))
    weights = moved_to(LocalizerWeights(Backbone(Scenario(), TINY)), scenario)
    localizer = Localizer(weights, LocalizerConfig(multipath=MultipathConfig(rounds=0)))
    localize = tf.function(lambda inputs: localizer.localize(**inputs), autograph=False)
    found = {key: value.numpy() for key, value in localize(inputs_of(batch)).items()}
    view, hits = scenario.field_of_view, 0
    for scene, count in enumerate(batch["num_sources"]):
        for k in range(count):
            azimuth, elevation = np.degrees(batch["azimuth"][scene, k]), np.degrees(batch["elevation"][scene, k])
            near = np.abs(found["azimuth_deg"][scene] - azimuth) <= view.gate_angle_deg
            near &= np.abs(found["elevation_deg"][scene] - elevation) <= view.gate_angle_deg
            near &= np.abs(found["range_m"][scene] - batch["range_m"][scene, k]) <= view.gate_range_m
            hits += bool(np.any(near))
    assert 2 * hits / (batch["num_sources"].sum() + found["num_sources"].sum()) > 0.75
