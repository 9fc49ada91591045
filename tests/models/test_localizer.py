"""The inference path: invariances, invalid input, unknown K, the oracle."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from models.covariance_estimator.backbone import Backbone
from models.localizer import Localizer, true_covariance
from models.physics.geometry import FieldOfView, RISArray, Scenario
from models.physics.steering import source_positions_m
from models.spectrum_localizer import oracle_localizer, spectrum_localizer
from tests.conftest import TINY
from tests.references.steering import steering_vector
from tests.simulated import batch_of, inputs_of, loud
from tfds_shards.simulator import CONFIGS

NUM_SCENES = 5


@pytest.fixture(scope="module")
def localize():
    localizer = Localizer(Backbone())
    return lambda inputs: {name: value.numpy() for name, value in localizer.graph(**inputs).items()}


@pytest.fixture(scope="module")
def inputs() -> dict[str, np.ndarray]:
    return inputs_of(batch_of(NUM_SCENES))


@pytest.fixture(scope="module")
def found(localize, inputs) -> dict[str, np.ndarray]:
    return localize(inputs)


@pytest.mark.promise("errors and scores")
def test_slots(found) -> None:
    slots = np.arange(5) < found["num_sources"][:, None]
    for name, value in found.items():
        if name == "num_paths":
            assert np.all(value[slots] >= 1) and np.all(value[~slots] == 0)
        elif name != "num_sources":
            assert np.all(np.isfinite(value[slots])) and np.all(np.isnan(value[~slots])), name
    score = np.where(slots, found["score"], -1.0)
    assert np.all(np.diff(score) <= 0)
    assert np.all((score[slots] > 0) & (score[slots] <= 1))
    np.testing.assert_allclose(np.linalg.norm(found["position_m"], axis=-1)[slots], found["range_m"][slots], rtol=1e-5)
    assert np.all(np.linalg.eigvalsh(found["position_cov_m2"][slots]) > 0)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("name", ["snapshots", "channel"])
def test_scale_changes_nothing(localize, inputs, found, name: str, scale: float) -> None:
    scaled = localize(inputs | {name: (inputs[name] * scale).astype(np.complex64)})
    for field, value in found.items():
        np.testing.assert_allclose(scaled[field], value, rtol=1e-3, atol=1e-3, err_msg=field)


@pytest.mark.promise("unknown number", "untrained")
def test_scenes_do_not_see_each_other(localize, inputs, found) -> None:
    for scene in range(NUM_SCENES):
        alone = localize({name: value[scene : scene + 1] for name, value in inputs.items()})
        for field, value in found.items():
            np.testing.assert_allclose(alone[field][0], value[scene], rtol=1e-3, atol=1e-3, err_msg=field)


def test_any_number_of_snapshots(localize, inputs) -> None:
    few = localize(inputs | {name: inputs[name][:, :16] for name in ("snapshots", "ris_codes")})
    assert few["position_m"].shape == (NUM_SCENES, 5, 3)
    assert few["num_sources"].sum() > 0


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("snapshots", lambda x: np.where(np.arange(16) == 3, np.nan, x), "snapshots: expected finite"),
        ("channel", lambda x: x * np.inf, "channel: expected finite"),
        ("snr_db", lambda x: x + np.nan, "snr_db: expected finite"),
        ("ris_codes", lambda x: x[:, :-1], "ris_codes: expected shape"),
        ("channel", lambda x: x[:-1], "channel: expected shape"),
        ("channel", lambda x: np.concatenate([x, x[:1]]), r"channel: expected shape [\s\S]*\[6 16 144\]"),
        ("snr_db", lambda x: x[:-1], "snr_db: expected shape"),
    ],
)
def test_bad_input_is_named(localize, inputs, name: str, change, expected: str) -> None:
    with np.errstate(invalid="ignore"):
        bad = inputs | {name: change(inputs[name]).astype(inputs[name].dtype)}
    with pytest.raises(tf.errors.InvalidArgumentError, match=expected):
        localize(bad)


def test_empty_batch_and_no_snapshots_are_named(localize, inputs) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="snapshots: expected at least one scene"):
        localize({name: value[:0] for name, value in inputs.items()})
    with pytest.raises(tf.errors.InvalidArgumentError, match="snapshots: expected at least one snapshot"):
        localize(inputs | {name: inputs[name][:, :0] for name in ("snapshots", "ris_codes")})


def test_noise_alone_holds_no_source(localize, inputs) -> None:
    rng = np.random.default_rng(1)
    noise = (rng.normal(size=(*inputs["snapshots"].shape, 2)) @ [1, 1j]).astype(np.complex64)
    silent = inputs | {"snapshots": noise, "snr_db": np.full(NUM_SCENES, -30.0, np.float32)}
    assert localize(silent)["num_sources"].sum() == 0


@pytest.mark.parametrize("array", [RISArray(), CONFIGS["l64_m64_pattern"].scenario.array], ids=["uniform", "pattern"])
def test_true_covariance_is_its_sum_over_sources(array: RISArray) -> None:
    batch = batch_of(3)
    dense = true_covariance(batch, Scenario(array)).dense().numpy()
    for scene in range(3):
        expected = np.zeros((144, 144), complex)
        for k in range(batch["num_sources"][scene]):
            place = (float(batch[name][scene, k]) for name in ("azimuth", "elevation", "range_m"))
            vector = steering_vector(*place, array)
            expected += batch["power"][scene, k] * np.outer(vector, vector.conj())
        np.testing.assert_allclose(dense[scene], expected / np.trace(expected).real, atol=1e-6)


@pytest.mark.promise("MVDR")
def test_mvdr_of_the_true_covariance_finds_the_sources() -> None:
    batch = batch_of(20, loud())
    outputs = {name: value.numpy() for name, value in oracle_localizer(Scenario(max_sources=2))(batch).items()}
    hits, sources = 0, 0
    for scene in range(20):
        for k in range(batch["num_sources"][scene]):
            near = np.abs(outputs["azimuth_deg"][scene] - np.degrees(batch["azimuth"][scene, k])) < 0.5
            hits += bool(np.any(near & (np.abs(outputs["range_m"][scene] - batch["range_m"][scene, k]) < 0.2)))
            sources += 1
    assert hits / sources > 0.9


@pytest.mark.extended
def test_sources_behind_amplitudes_and_patterns_are_found_where_they_are() -> None:
    """Given the array, the localizer finds strong near sources, for which the uniform model is wrong."""
    config = dataclasses.replace(
        CONFIGS["l64_m64_pattern"], name="loud_pattern", snr_db=(20.0, 20.0), scenario=near_pattern_scenario()
    )
    batch = batch_of(12, config)
    errors = {}
    for name, scenario in (
        ("told", config.scenario),
        ("uniform", dataclasses.replace(config.scenario, array=RISArray())),
    ):
        outputs = Localizer(Backbone(scenario, TINY)).localize(**inputs_of(batch))
        truth = source_positions_m(batch["azimuth"], batch["elevation"], batch["range_m"]).numpy()
        distance = np.linalg.norm(outputs["position_m"].numpy()[:, None] - truth[:, :, None], axis=-1)
        nearest = np.nanmin(np.where(np.isnan(distance), 9.0, distance), axis=-1)
        errors[name] = np.median(nearest[np.arange(2) < batch["num_sources"][:, None]])
    assert errors["told"] < 0.02
    assert errors["uniform"] > 2 * errors["told"]


def near_pattern_scenario() -> Scenario:
    array = CONFIGS["l64_m64_pattern"].scenario.array
    return Scenario(array=array, field_of_view=FieldOfView(range_m=(0.5, 2.0)), max_sources=2)


@pytest.mark.extended
def test_spectrum_of_r_pred_alone_shows_loud_sources(localize) -> None:
    """Nearly as accurate as the whole path, which uses the snapshots again."""
    batch = batch_of(8, loud())
    scenes = {name: tf.constant(value) for name, value in inputs_of(batch).items()}
    found = spectrum_localizer(Localizer(Backbone()))(scenes)
    whole = localize(inputs_of(batch))
    np.testing.assert_array_equal(found["num_sources"], whole["num_sources"])
    for scene, number in enumerate(whole["num_sources"]):
        expected = whole["position_m"][scene, :number]
        distance = np.linalg.norm(found["position_m"][scene, :number, None] - expected, axis=-1)
        near = whole["range_m"][scene, :number] < 4.0  # at larger ranges the prior of the decision moves a source
        assert np.all(distance.min(axis=0)[near] < 0.1)
