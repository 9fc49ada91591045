"""The SpectrumRefiner: loss and decoding against slow references, guard rails, and results that it must not change."""

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.config import LocalizerConfig
from models.covariance_estimator.atoms import Atoms
from models.covariance_estimator.backbone import Backbone
from models.covariance_estimator.config import BackboneConfig, GridConfig, RefinementConfig
from models.covariance_estimator.dictionary import PolarDictionary
from models.localizer import Analysis, Localizer
from models.losses import focal_loss, lorentzian
from models.multipath.config import MultipathConfig
from models.physics.geometry import FieldOfView, RISArray, Scenario
from models.spectrum.config import GuardRails, RefinerConfig
from models.spectrum.detection import Peaks
from models.spectrum.guard_rails import within_rails
from models.spectrum.proposals import Proposals, join_proposals, proposals, rate_peaks
from models.spectrum.refiner import NUM_FEATURES, HeatMap, SpectrumRefiner, _drawn, _pooled
from models.spectrum_localizer import read_spectrum, reading, spectrum_localizer
from tests.conftest import TINY
from tests.references import heat_map as reference
from tests.simulated import batch_of, inputs_of

GRID = TINY.grid
CONFIG = LocalizerConfig(spectrum_grid=GridConfig(22, 14, 10), multipath=MultipathConfig(rounds=0))
VIEW = FieldOfView()
SCENES = 6
CELLS = {"peak": (2, 2, 2), "beside the peak": (3, 2, 2), "new": (8, 5, 1), "unlikely peak": (5, 0, 4)}


@pytest.fixture(scope="module")
def dictionary() -> PolarDictionary:
    return PolarDictionary(RISArray(), VIEW, GRID)


def eager_refiner(bias: float = 2.0) -> SpectrumRefiner:
    """A refiner with hand-set weights that shows a source at every peak of the spectrum."""
    refiner = SpectrumRefiner(RefinerConfig(width=2, depth=2))
    for layer in (*refiner.hidden, refiner.context, refiner.presence):
        layer.set_weights([np.zeros_like(weight) for weight in layer.get_weights()])
    kernel = np.zeros(refiner.hidden[0].kernel.shape, np.float32)
    kernel[1, 1, 1, 2, 0] = 8.0  # the third feature is 1 in the cell of a peak
    refiner.hidden[0].kernel.assign(kernel)
    out = np.zeros(refiner.presence.kernel.shape, np.float32)
    out[1, 1, 1, 0, 0] = 1.0
    refiner.presence.kernel.assign(out)
    refiner.presence.bias.assign([bias - 8.0])
    return refiner


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return Backbone(Scenario(), TINY)


@pytest.fixture(scope="module")
def inputs() -> dict[str, tf.Tensor]:
    return {name: tf.constant(value) for name, value in inputs_of(batch_of(SCENES)).items()}


# Against slow references


def test_focal_loss_is_its_definition() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(3, 40))
    target = rng.uniform(0.0, 0.99, size=(3, 40))
    target[0, [3, 17]] = target[1, 5] = 1.0  # and a scene without a source
    expected = [reference.focal_loss(1.0 / (1.0 + np.exp(-one)), y) for one, y in zip(logits, target, strict=True)]
    found = focal_loss(tf.constant(logits, tf.float32), tf.constant(target, tf.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_focal_loss_vanishes_where_the_heat_map_is_right_and_survives_certainty() -> None:
    target = tf.constant([[0.0, 1.0, 0.0]])
    assert float(focal_loss(tf.constant([[-90.0, 90.0, -90.0]]), target)[0]) < 1e-6
    assert 80.0 < float(focal_loss(tf.constant([[-90.0, -90.0, -90.0]]), target)[0]) < 100.0


def test_lorentzian_is_quadratic_at_first_and_its_slope_vanishes_far_off() -> None:
    error = tf.constant([-1e-2, 0.0, 1e-2, 2.0**0.5, 1e3])
    with tf.GradientTape() as tape:
        tape.watch(error)
        loss = lorentzian(error)
    np.testing.assert_allclose(loss[:3], [5e-5, 0.0, 5e-5], rtol=1e-4)
    np.testing.assert_allclose(tape.gradient(loss, error), [-1e-2, 0.0, 1e-2, 2.0**-0.5, 2e-3], rtol=1e-3)


def test_pooling_is_maximum_and_mean_over_each_cell() -> None:
    volume = np.random.default_rng(2).normal(size=(2, 8, 6, 9)).astype(np.float32)
    found = _pooled(tf.constant(volume), (4, 3, 3))
    np.testing.assert_allclose(found, [reference.pooled(one, (4, 3, 3)) for one in volume], rtol=1e-5, atol=1e-6)


def test_a_grid_that_does_not_divide_is_refused() -> None:
    message = r"spectrum_grid: expected a whole multiple of the backbone's grid \(11, 7, 5\), got \(44, 26, 20\)"
    with pytest.raises(ValueError, match=message):
        Localizer(Backbone(Scenario(), BackboneConfig(grid=GRID, active_atoms=16)), refiner=SpectrumRefiner())


def test_peaks_drawn_on_the_grid_come_back_at_their_places(dictionary: PolarDictionary) -> None:
    """Writing peaks to cells and reading the offsets of a heat map are inverse operations."""
    rng = np.random.default_rng(3)
    apart = np.arange(GRID.size).reshape(GRID.shape)[::2, ::2, ::2].ravel()  # none are adjacent
    cells = np.stack([rng.choice(apart, 3, replace=False) for _ in range(4)])
    offset = rng.uniform(-0.45, 0.45, size=(4, 3, 3))
    place = dictionary.places().numpy()[cells] + offset * dictionary.cell_size()
    points = np.concatenate([np.arcsin(place[..., :2]), place[..., 2:]], axis=-1).astype(np.float32)
    height = np.sort(rng.uniform(3.0, 50.0, size=(4, 3)))[:, ::-1].astype(np.float32)
    valid = np.array([[True, True, False]] * 4)
    drawn = _drawn(Peaks(*map(tf.constant, (points, height, valid))), tf.ones([4]), dictionary).numpy()
    for scene in range(4):
        np.testing.assert_array_equal(np.flatnonzero(drawn[scene, :, 0]), np.sort(cells[scene, :2]))
        np.testing.assert_allclose(drawn[scene, cells[scene, :2], 1], 0.3 * np.log(height[scene, :2]), rtol=1e-5)
    shape = (4, *GRID.shape)
    logits = np.where(drawn[..., 0] > 0, drawn[..., 1], -20.0).reshape(shape).astype(np.float32)
    offsets = drawn[..., 2:].reshape(*shape, 3)
    found = proposals(HeatMap(tf.constant(logits), tf.constant(offsets)), dictionary, 2)
    np.testing.assert_allclose(found.points, points[:, :2], atol=1e-5)
    np.testing.assert_allclose(found.presence, 1.0 / (1.0 + np.exp(-0.3 * np.log(height[:, :2]))), rtol=1e-4)


def test_of_two_peaks_in_a_cell_the_higher_is_drawn(dictionary: PolarDictionary) -> None:
    place = dictionary.places().numpy()[40] + np.array([[0.1, 0.0, 0.0], [-0.2, 0.0, 0.0]]) * dictionary.cell_size()
    points = np.concatenate([np.arcsin(place[:, :2]), place[:, 2:]], axis=-1).astype(np.float32)[None]
    peaks = Peaks(tf.constant(points), tf.constant([[9.0, 4.0]]), tf.constant([[True, True]]))
    drawn = _drawn(peaks, tf.ones([1]), dictionary).numpy()[0]
    np.testing.assert_allclose(drawn[40], [1.0, 0.3 * np.log(9.0), 0.1, 0.0, 0.0], atol=1e-4)
    assert np.count_nonzero(drawn[:, 0]) == 1


def test_proposals_stay_in_the_field_of_view(dictionary: PolarDictionary) -> None:
    logits = tf.random.stateless_normal([3, *GRID.shape], seed=(1, 2))
    found = proposals(HeatMap(logits, tf.fill([3, *GRID.shape, 3], 1.5)), dictionary, 5).points.numpy()
    for index, (low, high) in enumerate((VIEW.azimuth, VIEW.elevation, VIEW.inverse_range)):
        assert np.all((found[..., index] >= low - 1e-5) & (found[..., index] <= high + 1e-5))


def test_peaks_are_rated_by_their_cells_and_what_is_new_comes_beside_them(dictionary: PolarDictionary) -> None:
    centres = dictionary.places().numpy()
    cells = {name: np.ravel_multi_index(index, GRID.shape) for name, index in CELLS.items()}
    logits = np.full(GRID.size, -9.0, np.float32)
    for name, logit in (("peak", 0.5), ("beside the peak", 3.0), ("new", 1.0)):
        logits[cells[name]] = logit
    place = centres[[cells["peak"], cells["unlikely peak"], cells["unlikely peak"]]]
    points = np.concatenate([np.arcsin(place[:, :2]), place[:, 2:]], axis=-1).astype(np.float32)
    peaks = Peaks(tf.constant(points[None]), tf.constant([[9.0, 8.0, 7.0]]), tf.constant([[True, True, False]]))
    heat_map = HeatMap(tf.reshape(logits, [1, *GRID.shape]), tf.zeros([1, *GRID.shape, 3]))
    shown = proposals(heat_map, dictionary, 5).above(tf.constant(0.3))
    found = rate_peaks(peaks, heat_map, shown, dictionary)
    expected = [1.0 / (1.0 + np.exp(-logit)) for logit in (1.0, 0.5, -9.0)]
    np.testing.assert_allclose(found.presence[0], [*expected, 0.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(found.points[0, 1:3], points[:2], atol=1e-6)
    _, offset = dictionary.locate(found.points[0, :3])
    cell, _ = dictionary.locate(found.points[0, :3])
    np.testing.assert_array_equal(cell, [cells["new"], cells["peak"], cells["unlikely peak"]])
    np.testing.assert_allclose(offset, 0.0, atol=1e-4)


def test_proposals_take_free_slots_and_nothing_else(dictionary: PolarDictionary) -> None:
    places = dictionary.places().numpy()[[np.ravel_multi_index(index, GRID.shape) for index in CELLS.values()]]
    points = np.concatenate([np.arcsin(places[:, :2]), places[:, 2:]], axis=-1).astype(np.float32)
    peak, beside, new, other = points
    parameters = np.append(np.stack([peak, other, other])[None], np.full((1, 3, 1), -2.0), axis=-1).astype(np.float32)
    shown = Proposals(tf.constant([[beside, new, other]]), tf.constant([[0.9, 0.8, 0.5]]))
    for active, expected in (([True, False, False], [peak, new, other]), ([True, False, True], [peak, other, new])):
        joined = join_proposals(Atoms(tf.constant(parameters), tf.constant([active]), tf.ones([1])), shown, dictionary)
        assert joined.active.numpy().all()
        np.testing.assert_array_equal(joined.parameters[0, :, :3], expected)
    full = Atoms(tf.constant(parameters), tf.constant([[True] * 3]), tf.ones([1]))
    free = full._replace(active=tf.constant([[True, False, True]]))
    for atoms, given in ((full, shown), (free, shown._replace(presence=tf.zeros([1, 3])))):
        joined = join_proposals(atoms, given, dictionary)
        np.testing.assert_array_equal(
            tf.sort(tf.cast(joined.active, tf.int32)), tf.sort(tf.cast(atoms.active, tf.int32))
        )
        kept = tf.boolean_mask(joined.parameters, joined.active)
        np.testing.assert_array_equal(kept, tf.boolean_mask(atoms.parameters, atoms.active))


# Guard rails


def volumes(kind: str, rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Contrast volumes (1 away from sources) that no scene produces."""
    if kind == "nan":
        volume = np.exp(rng.normal(size=shape))
        volume[tuple(rng.integers(size) for size in shape)] = rng.choice([np.nan, np.inf, -np.inf])
        return volume
    if kind == "constant":
        return np.full(shape, 10.0 ** rng.uniform(-3, 6))
    if kind == "saturated":
        return np.where(rng.random(shape) < rng.uniform(0.2, 1.0), 1e4, 1.0)
    return np.exp(rng.normal(scale=rng.uniform(0.8, 3.0), size=shape))  # random


@pytest.mark.parametrize("kind", ["nan", "constant", "saturated", "random", "sane"])
def test_rails_are_their_definition(kind: str) -> None:
    rng = np.random.default_rng(4)
    rails = GuardRails(max_share=0.04, max_peaks=4)
    given = []
    for _ in range(30):
        if kind == "sane":
            volume = np.ones((8, 7, 6))
            for _ in range(rng.integers(0, 8)):
                volume[tuple(rng.integers(size) for size in volume.shape)] = rng.uniform(1.5, 9.0)
        else:
            volume = volumes(kind, rng, (8, 7, 6))
        given.append(volume)
    expected = [reference.trusted(volume, 2.0, rails.max_share, rails.max_peaks) for volume in given]
    found = within_rails(rails, tf.constant(np.stack(given), tf.float32), 2.0).numpy()
    np.testing.assert_array_equal(found, expected)
    assert found.any() == (kind == "sane")


@pytest.mark.extended
def test_a_thousand_corrupted_spectra_fall_back_and_change_no_answer(backbone: Backbone, inputs) -> None:
    localizer = Localizer(backbone, CONFIG, eager_refiner())
    observation = localizer.observe(**inputs)
    analysis = localizer.analyse(observation, inputs["snr_db"])

    def reader(localizer: Localizer):
        def read(spectrum: tf.Tensor) -> dict[str, tf.Tensor]:
            corrupted = analysis._replace(spectrum=spectrum)
            return read_spectrum(localizer, reading(localizer, corrupted, observation))

        return tf.function(read, autograph=False)

    read, raw = reader(localizer), reader(Localizer(backbone, CONFIG))
    assert read(analysis.spectrum)["refined"].numpy().all()  # otherwise the test would prove nothing
    rng = np.random.default_rng(5)
    kinds = ("nan", "constant", "saturated", "random")
    shape = analysis.spectrum.shape[1:]
    floor = analysis.effective.floor.numpy()[:, None, None, None]
    tried = 0
    while tried < 1000:
        volume = np.stack([volumes(kinds[(tried + scene) % 4], rng, shape) for scene in range(SCENES)])
        spectrum = tf.constant((volume * floor).astype(np.float32))
        answer = read(spectrum)
        assert not answer["refined"].numpy().any()
        for name, value in raw(spectrum).items():
            np.testing.assert_allclose(answer[name], value, rtol=1e-6)
        tried += SCENES


class Damaged(NamedTuple):
    """A refiner whose weights a test may damage, the answer with it, and the answer without a refiner."""

    refiner: SpectrumRefiner
    answers: Callable[[], list[dict[str, tf.Tensor]]]
    without: list[dict[str, tf.Tensor]]


@pytest.fixture(scope="module")
def traced(backbone: Backbone, inputs) -> Damaged:
    """The whole path and the spectrum localizer, each traced once. Every call reads the present weights."""

    def of(localizer: Localizer) -> Callable[[], list[dict[str, tf.Tensor]]]:
        whole, alone = tf.function(localizer.localize, autograph=False), spectrum_localizer(localizer)
        return lambda: [whole(**inputs), alone(inputs)]

    refiner = eager_refiner()
    return Damaged(refiner, of(Localizer(backbone, CONFIG, refiner)), of(Localizer(backbone, CONFIG))())


@pytest.mark.extended
@pytest.mark.parametrize("damage", ["nan", "infinite", "nan offset", "saturated", "flat", "crowded"])
def test_a_heat_map_out_of_order_falls_back(damage: str, traced: Damaged) -> None:
    refiner = traced.refiner
    refiner.set_weights(eager_refiner().get_weights())
    if damage == "nan offset":
        refiner.offset.bias.assign([0.0, np.nan, 0.0])
    elif damage == "crowded":
        refiner.presence.kernel.assign(50.0 * tf.random.stateless_normal(refiner.presence.kernel.shape, seed=(1, 2)))
        refiner.hidden[0].kernel.assign(tf.random.stateless_normal(refiner.hidden[0].kernel.shape, seed=(3, 4)))
    else:
        bias = {"nan": np.nan, "infinite": -np.inf, "saturated": 9.0, "flat": -30.0}[damage]
        refiner.presence.bias.assign([bias])
    for answer, without in zip(traced.answers(), traced.without, strict=True):
        assert not answer.pop("refined").numpy().any()
        for name, value in without.items():
            np.testing.assert_allclose(answer[name], value, rtol=1e-6)


@pytest.mark.extended
def test_its_weights_are_read_anew(traced: Damaged) -> None:
    """An undamaged refiner is used; otherwise the tests of damage would prove nothing."""
    traced.refiner.set_weights(eager_refiner().get_weights())
    assert all(answer["refined"].numpy().any() for answer in traced.answers())


@pytest.mark.parametrize(("field", "value"), [("max_share", 0.0), ("max_share", 1.0), ("max_peaks", 0)])
def test_rails_refuse_what_is_none(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"GuardRails\.{field}: expected .*, got {value}"):
        GuardRails(**{field: value})


# In the localizer


def test_before_training_it_is_out_of_the_way(backbone: Backbone, inputs) -> None:
    located = dict(Localizer(backbone, CONFIG, SpectrumRefiner()).graph(**inputs))
    assert not located.pop("refined").numpy().any()
    plain = Localizer(backbone, CONFIG).graph(**inputs)
    assert plain.keys() == located.keys()
    for name, value in plain.items():
        np.testing.assert_array_equal(located[name], value)


@pytest.mark.promise("refiner")
def test_what_the_heat_map_shows_is_read_off_it(backbone: Backbone, inputs) -> None:
    """A refiner that shows the peaks of the spectrum gives the same sources plus its offset."""
    refiner = eager_refiner()
    localizer = Localizer(backbone, CONFIG, refiner)
    read, raw = spectrum_localizer(localizer)(inputs), spectrum_localizer(Localizer(backbone, CONFIG))(inputs)
    refined = read["refined"].numpy()
    assert refined.any()
    cell = float(np.max(np.degrees(np.arcsin(backbone.dictionary.cell_size()[:2]))))
    for scene in np.flatnonzero(refined):
        shown = read["azimuth_deg"][scene].numpy()[: int(read["num_sources"][scene])]
        peaks = raw["azimuth_deg"][scene].numpy()[: int(raw["num_sources"][scene])]
        assert len(shown)
        assert all(np.min(np.abs(peaks - azimuth)) < 2.0 * cell for azimuth in shown)


@pytest.mark.extended
def test_a_source_the_spectrum_lacks_comes_in_through_the_heat_map(inputs) -> None:
    """R_pred has one atom only. The heat map adds the other sources, and the likelihood refines them."""
    scenes = batch_of(SCENES)
    backbone = Backbone(Scenario(), BackboneConfig())
    refiner = SpectrumRefiner()
    localizer = Localizer(backbone, refiner=refiner)
    place = np.stack([np.sin(scenes["azimuth"]), np.sin(scenes["elevation"]), 1.0 / np.maximum(scenes["range_m"], 0.1)])
    dictionary = backbone.dictionary
    cells = (np.moveaxis(place, 0, -1) - dictionary.places().numpy()[0]) / dictionary.cell_size()
    index = np.clip(np.round(cells).astype(int), 0, np.array(dictionary.config.shape) - 1)
    logits = np.full((SCENES, *dictionary.config.shape), -9.0, np.float32)
    for scene, number in enumerate(scenes["num_sources"]):
        for source in range(number):
            logits[(scene, *index[scene, source])] = 4.0
    heat_map = HeatMap(tf.constant(logits), tf.zeros([SCENES, *dictionary.config.shape, 3]))
    observation = localizer.observe(**inputs)
    full = localizer.analyse(observation, inputs["snr_db"])
    only_one = full.prediction.atoms._replace(active=tf.one_hot([0] * SCENES, 5, on_value=True, off_value=False))
    peaks = full.peaks._replace(valid=tf.one_hot([0] * SCENES, full.peaks.valid.shape[1], True, False))
    poor = Analysis(full.prediction._replace(atoms=only_one), full.effective, full.spectrum, peaks)
    counts = {"with": 0, "without": 0}
    for scene in range(SCENES):
        alone, its_map, measurement = tf.nest.map_structure(
            lambda values, scene=scene: values[scene : scene + 1], (poor, heat_map, inputs)
        )
        localizer.heat_map = lambda *given, its_map=its_map: its_map  # type: ignore[method-assign]
        localizer.analyse = lambda *given, alone=alone: alone  # type: ignore[method-assign]
        for name, given in (("with", refiner), ("without", None)):
            localizer.refiner = given
            found = localizer.report(localizer.candidates(**measurement), 0.4)
            counts[name] += int(found["num_sources"][0])
    assert counts["without"] <= SCENES < counts["with"]


@pytest.mark.extended
def test_atoms_of_the_grid_stay_there_without_steps(inputs) -> None:
    """--grid-only relies on this."""
    config = BackboneConfig(refinement=RefinementConfig(steps=0, settling_steps=0, additions=0))
    backbone = Backbone(Scenario(), config)
    observation = Localizer(backbone).observe(**inputs)
    atoms = backbone.predict_covariance(observation).atoms
    _, offset = backbone.dictionary.locate(atoms.parameters[..., :3])
    np.testing.assert_allclose(tf.boolean_mask(offset, atoms.active), 0.0, atol=1e-4)
    np.testing.assert_array_equal(atoms.noise_power, observation.noise_power)


@pytest.mark.extended
def test_weights_fit_another_grid(inputs) -> None:
    refiner = SpectrumRefiner(RefinerConfig(width=4, depth=2))
    for grid in (GridConfig(11, 13, 5), GridConfig(22, 26, 10)):
        localizer = Localizer(Backbone(Scenario(), BackboneConfig(grid=grid)), refiner=refiner)
        observation = localizer.observe(**inputs)
        heat_map = localizer.heat_map(localizer.analyse(observation, inputs["snr_db"]), observation)
        assert heat_map.logits.shape == (SCENES, *grid.shape)
        assert heat_map.offset.shape == (SCENES, *grid.shape, 3)


def test_it_is_the_same_after_a_file(tmp_path) -> None:
    refiner = eager_refiner()
    refiner.min_presence.assign(0.42)
    refiner.save(tmp_path / "refiner.keras")
    again = keras.models.load_model(tmp_path / "refiner.keras")
    features = tf.random.stateless_normal([2, *GRID.shape, NUM_FEATURES], seed=(5, 6))
    for one, other in zip(refiner(features), again(features), strict=True):
        np.testing.assert_array_equal(one, other)
    assert float(again.min_presence) == pytest.approx(0.42)


@pytest.mark.parametrize(("field", "value"), [("width", 0), ("depth", 1)])
def test_a_shape_that_is_none_is_refused(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=rf"RefinerConfig\.{field}: expected \d or more, got {value}"):
        RefinerConfig(**{field: value})
