"""The inference path: measurement -> R_pred -> R_eff -> MVDR spectrum (-> refiner) -> peaks -> sources."""

import functools
import math
from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from models.batches import scene_by_scene
from models.config import LocalizerConfig
from models.covariance_estimator.atoms import PARAMETERS_PER_ATOM, Atoms
from models.covariance_estimator.backbone import Backbone, GridState, Prediction
from models.covariance_estimator.greedy_selection import Refined
from models.covariance_estimator.likelihood import atom_evaluation
from models.covariance_estimator.paths import Paths, direct_paths
from models.decision.decision import Decision, decide
from models.decision.inflation import inflation
from models.decision.scoring import NUM_FEATURES, score_features
from models.localizer_weights import LocalizerWeights
from models.multipath.estimation import estimate_multipath
from models.multipath.mismatch import mismatch_ratio
from models.multipath.reflections import PathGrid
from models.physics.covariance import LowRankCovariance, effective_low_rank
from models.physics.geometry import Scenario
from models.physics.observation import Observation, measurement_specs, observe
from models.physics.steering import steering_norm2, steering_vectors
from models.spectrum.detection import Peaks, Starts, find_peaks
from models.spectrum.guard_rails import within_rails
from models.spectrum.mvdr import MVDR, spectrum_layer
from models.spectrum.proposals import Proposals, join_proposals, proposals
from models.spectrum.refiner import HeatMap, SpectrumRefiner, cells_ratio, refiner_features

DEGREES = 180.0 / math.pi


def check_measurement(
    snapshots: tf.Tensor, ris_codes: tf.Tensor, channel: tf.Tensor, snr_db: tf.Tensor, num_elements: int
) -> list[tf.Operation]:
    """Creates checks that run in the graph. If one fails, a server answers INVALID_ARGUMENT with its one-line message.

    Raises:
      tf.errors.InvalidArgumentError: the batch is empty, there are no snapshots, shapes disagree, or a value is NaN or
        infinite.
    """
    batch, num_snapshots, num_antennas = tf.unstack(tf.shape(snapshots))
    checks = [
        tf.debugging.assert_positive(batch, "snapshots: expected at least one scene, got an empty batch"),
        tf.debugging.assert_positive(num_snapshots, "snapshots: expected at least one snapshot, got none"),
        tf.debugging.assert_equal(
            tf.shape(ris_codes),
            [batch, num_snapshots, num_elements],
            "ris_codes: expected shape [B, L, N] as snapshots",
        ),
        tf.debugging.assert_equal(
            tf.shape(channel), [batch, num_antennas, num_elements], "channel: expected shape [B, M, N] as snapshots"
        ),
        tf.debugging.assert_equal(tf.shape(snr_db), [batch], "snr_db: expected shape [B] as snapshots"),
    ]
    for name, value in (("snapshots", snapshots), ("ris_codes", ris_codes), ("channel", channel), ("snr_db", snr_db)):
        finite = tf.math.is_finite(tf.abs(value))
        checks.append(
            tf.debugging.Assert(tf.reduce_all(finite), [f"{name}: expected finite numbers, got NaN or infinity"])
        )
    return checks


class Localizer(tf.Module):
    """Locates sources in measurements. All steps are batched TensorFlow, so that they form one SavedModel.

    Args:
      weights: learned weights. With a backbone alone, scores are not corrected.
      config: settings of the steps after the backbone.
      refiner: optional refiner of the spectrum. Without it, its steps are not part of the computation. The
        spectrum_grid must be a whole multiple of the backbone's grid.

    Examples:
      >>> localizer = Localizer(Backbone())
      >>> sources = localizer.localize(snapshots, ris_codes, channel, snr_db)
      >>> sources["position_m"]  # [B, K_max, 3]
    """

    def __init__(
        self,
        weights: LocalizerWeights | Backbone,
        config: LocalizerConfig = LocalizerConfig(),
        refiner: SpectrumRefiner | None = None,
    ) -> None:
        super().__init__()
        self.weights = weights if isinstance(weights, LocalizerWeights) else LocalizerWeights(weights)
        self.backbone = backbone = self.weights.backbone
        self.config, self.refiner = config, refiner
        scenario = backbone.scenario
        self.scenario = scenario
        self.mvdr = spectrum_layer(scenario, config.spectrum_grid)
        # The atoms of R_pred start the search for peaks, so that a coarser grid finds the same ones.
        self.search_mvdr = self.mvdr if refiner is not None else spectrum_layer(scenario, backbone.config.grid)
        self.path_grid = PathGrid(scenario.array)
        if refiner is not None:
            cells_ratio(self.mvdr.grid.shape, backbone.config.grid.shape)

    def observe(self, snapshots: tf.Tensor, ris_codes: tf.Tensor, channel: tf.Tensor, snr_db: tf.Tensor) -> Observation:
        """Checks and normalises a measurement. Arguments and errors as for `localize`."""
        return observe(*self._checked(snapshots, ris_codes, channel, snr_db))

    def _checked(
        self, snapshots: tf.Tensor, ris_codes: tf.Tensor, channel: tf.Tensor, snr_db: tf.Tensor
    ) -> list[tf.Tensor]:
        """The measurement as tensors, which depend on `check_measurement`."""
        return self._check(*map(tf.convert_to_tensor, (snapshots, ris_codes, channel, snr_db)))

    @functools.cached_property
    def _check(self) -> tf.types.experimental.ConcreteFunction:
        def check(snapshots: tf.Tensor, ris_codes: tf.Tensor, channel: tf.Tensor, snr_db: tf.Tensor) -> list[tf.Tensor]:
            checks = check_measurement(snapshots, ris_codes, channel, snr_db, self.scenario.array.num_elements)
            with tf.control_dependencies([check for check in checks if check is not None]):
                return [tf.identity(part) for part in (snapshots, ris_codes, channel, snr_db)]

        function = tf.function(check, autograph=False, experimental_attributes={"_noinline": True})
        specs = measurement_specs(None, None).values()
        return function.get_concrete_function(*specs)

    def effective(
        self, covariance: LowRankCovariance, snr_db: tf.Tensor, num_snapshots: tf.Tensor
    ) -> LowRankCovariance:
        """R_eff from R_pred; snr_db [B] float32, num_snapshots L."""
        return effective_low_rank(covariance, snr_db, num_snapshots, self.config.shrinkage)

    def localize(
        self, snapshots: tf.Tensor, ris_codes: tf.Tensor, channel: tf.Tensor, snr_db: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Locates the sources of B scenes.

        Args:
          snapshots: [B, L, M] complex64, any scale.
          ris_codes: [B, L, N] complex64.
          channel: [B, M, N] complex64, any scale.
          snr_db: [B] float32, dB.

        Returns:
          A dictionary. Sources are in order of falling score; unused slots are NaN, in `num_paths` zero.

          - `num_sources`: [B] int32.
          - `azimuth_deg`, `elevation_deg`, `range_m`: [B, K_max] float32.
          - `power_db`: mean received power of the source relative to that of the scene, [B, K_max] float32.
          - `score`: probability of being a hit, [B, K_max] float32.
          - `position_m`: [B, K_max, 3] float32.
          - `position_cov_m2`: [B, K_max, 3, 3] float32.
          - `num_paths`: number of detected paths, including the direct one, [B, K_max] int32.
          - `refined`: with a refiner, true if its heat map was used, false if the guard rails rejected it, [B] bool.

        Raises:
          tf.errors.InvalidArgumentError: see `check_measurement`.
        """
        return self.report(self.candidates(snapshots, ris_codes, channel, snr_db), self.config.decision.min_score)

    def input_specs(self) -> dict[str, tf.TensorSpec]:
        """Specs of the arguments of `localize`; B and L are free, M and N are fixed."""
        return measurement_specs(self.scenario.num_antennas, self.scenario.array.num_elements)

    @functools.cached_property
    def graph(self) -> tf.types.experimental.PolymorphicFunction:
        """`localize` as a graph, traced once for any B and L. Each call uses the present weights."""
        return tf.function(self.localize, list(self.input_specs().values()), autograph=False)

    def predicted(
        self, snapshots: tf.Tensor, ris_codes: tf.Tensor, channel: tf.Tensor, snr_db: tf.Tensor
    ) -> LowRankCovariance:
        """R_pred. Arguments and errors as for `localize`. Has no gradient."""

        def one_scene(measurement: list[tf.Tensor]) -> LowRankCovariance:
            model = self._estimation(*measurement)[1]
            return LowRankCovariance(*(part[0] for part in self.backbone.covariance(model.paths.atoms(slots))))

        slots = self.backbone.slots
        factor = tf.TensorSpec([self.scenario.array.num_elements, slots], tf.complex64)
        signature = LowRankCovariance(factor, tf.TensorSpec([], tf.float32))
        return scene_by_scene(one_scene, self._checked(snapshots, ris_codes, channel, snr_db), signature)

    @functools.cached_property
    def _estimation(self) -> tf.types.experimental.ConcreteFunction:
        """From the measurement of one scene to its observation, the backbone's model and its last grid stage.

        Only the grid stage has the axis B, of size one. All calls share one graph.
        """

        def estimate(*measurement: tf.Tensor) -> tuple[Observation, Refined, GridState]:
            batch = observe(*(part[None] for part in measurement))
            state = self.backbone.grid_stages(batch)[-1]
            first = self.backbone.first_atoms(state, batch.noise_power)
            scene = batch.scene(0)
            return scene, self.backbone.search(scene, Atoms(*(part[0] for part in first))), state

        specs = [tf.TensorSpec(spec.shape[1:], spec.dtype) for spec in self.input_specs().values()]
        return tf.function(estimate, autograph=False).get_concrete_function(*specs)

    def analyse(
        self,
        observation: Observation,
        snr_db: tf.Tensor,
        prediction: Prediction | None = None,
        mvdr: MVDR | None = None,
    ) -> "Analysis":
        """Computes R_pred, unless `prediction` is given, then R_eff, its MVDR spectrum and the peaks.

        `mvdr` replaces the layer of the spectrum.
        """
        mvdr = mvdr or self.mvdr
        prediction = prediction or self.backbone.predict_covariance(observation)
        effective = self.effective(prediction.covariance, snr_db, tf.shape(observation.snapshots)[1])
        spectrum = mvdr(effective)
        starts = Starts(prediction.atoms.parameters[..., :3], prediction.atoms.active)
        cell_size = self.mvdr.dictionary.cell_size()
        peaks = find_peaks(effective, mvdr, self.config.detection, starts, spectrum, cell_size)
        return Analysis(prediction, effective, spectrum, peaks)

    def heat_map(self, analysis: "Analysis", observation: Observation) -> HeatMap:
        """The heat map of the refiner."""
        assert self.refiner is not None
        floor, grid, dictionary = analysis.effective.floor, analysis.prediction.grid, self.backbone.dictionary
        return self.refiner(refiner_features(analysis.contrast(), analysis.peaks, floor, grid, observation, dictionary))

    def refine(self, analysis: "Analysis", heat_map: HeatMap) -> tuple[Proposals, tf.Tensor]:
        """Sources in the heat map, and if the guard rails accept the heat map of a scene, [B] bool."""
        assert self.refiner is not None
        rails, level = self.config.guard_rails, tf.convert_to_tensor(self.refiner.min_presence)
        values = tf.concat([heat_map.logits[..., None], heat_map.offset], axis=-1)
        finite = tf.reduce_all(tf.math.is_finite(values), axis=(1, 2, 3, 4))
        contrast_is_sane = within_rails(rails, analysis.contrast(), self.config.detection.contrast)
        presence_is_sane = within_rails(rails, tf.sigmoid(heat_map.logits), level)
        shown = proposals(heat_map, self.backbone.dictionary, self.scenario.max_sources)
        return shown.above(level), finite & contrast_is_sane & presence_is_sane

    def candidates(
        self, snapshots: tf.Tensor, ris_codes: tf.Tensor, channel: tf.Tensor, snr_db: tf.Tensor
    ) -> "ScoredPeaks":
        """All candidates from the spectrum of R_eff with their scores, before the threshold. Has no gradient.

        Arguments and errors as for `localize`.
        """
        slots = self.backbone.slots

        def spec(*shape: int, dtype: tf.DType = tf.float32) -> tf.TensorSpec:
            return tf.TensorSpec(shape, dtype)

        decision = Decision(spec(slots), spec(slots), spec(slots), spec(slots, 3), spec(slots, 3, 3), spec(slots))
        counts, features, refined = spec(slots, dtype=tf.int32), spec(slots, NUM_FEATURES), spec(dtype=tf.bool)
        signature = ScoredPeaks(decision, spec(slots), counts, features, refined)
        measurement = self._checked(snapshots, ris_codes, channel, snr_db)
        return scene_by_scene(self._scene_candidates, measurement, signature)

    def _scene_candidates(self, measurement: list[tf.Tensor]) -> "ScoredPeaks":
        """`candidates` of one scene; neither the measurement nor the result have the axis B."""
        scene, model, state = self._estimation(*measurement)
        batch = tf.nest.map_structure(lambda part: part[None], scene)
        atoms = model.paths.atoms(None)
        prediction = Prediction(self.backbone.covariance(atoms), atoms, model.evaluation.nll[None], state)
        analysis = self.analyse(batch, measurement[-1][None], prediction, self.search_mvdr)
        sources, known = self._at_peaks(analysis, model.paths)
        refined = tf.constant([False])
        if self.refiner is not None:
            shown, refined = self.refine(analysis, self.heat_map(analysis, batch))
            shown = shown._replace(presence=tf.where(refined[:, None], shown.presence, 0.0))
            sources, joined = self._with_proposals(sources, shown)
            known &= ~joined
        refinement = self.backbone.refinement
        model = tf.cond(
            known & model.evaluation.settled,
            lambda: model,
            lambda: Refined(*refinement(scene, sources, self.config.final_steps, prune_llr=0.0)),
        )
        paths, evaluation, scores = estimate_multipath(
            scene, model.paths, model.evaluation, self.path_grid, refinement, self.config.multipath
        )
        mismatch = mismatch_ratio(scene, paths, evaluation, scores, self.scenario.array)
        power = tf.reduce_mean(tf.abs(evaluation.sources) ** 2, axis=(0, 2))
        num_paths = 1 + tf.cast(tf.reduce_sum(paths.membership(), axis=0), tf.int32)
        least = tf.maximum(paths.num_sources, 1)  # the decision needs at least one slot
        mismatch, power, num_paths = (_in_slots(values, least)[None] for values in (mismatch, power, num_paths))
        atoms, of_atoms = paths.atoms(least), atom_evaluation(evaluation, paths, least)
        factors = inflation(mismatch, self.config.inflation)
        decision = decide(atoms, of_atoms, self.scenario.field_of_view, self.config.decision, factors)
        features = score_features(decision, atoms, of_atoms, mismatch, batch, self.scenario)
        decision = self.weights.score_correction.correct(decision, features)
        found = (decision, power, num_paths, features)
        decision, power, num_paths, features = tf.nest.map_structure(
            lambda part: _in_slots(part[0], self.backbone.slots), found
        )
        return ScoredPeaks(decision, power, num_paths, features, refined[0])

    def _at_peaks(self, analysis: "Analysis", paths: Paths) -> tuple[Paths, tf.Tensor]:
        """The strongest peaks of one scene as sources, and whether they are the sources of R_pred, [] bool.

        A peak near a source of R_pred is that source. The power of another peak is P - floor, in the scale of R_pred
        and for |a| = 1.
        """
        _, effective, _, peaks = analysis
        valid = tf.where(peaks.valid[0])[: self.backbone.slots, 0]
        points, height = tf.gather(peaks.points[0], valid), tf.gather(peaks.height[0], valid)
        to_predicted = analysis.prediction.covariance.trace() / effective.trace()
        norm2 = steering_norm2(points[:, 0], points[:, 1], points[:, 2], self.scenario.array)
        power = tf.maximum(height - effective.floor, 1e-6) * to_predicted / norm2
        new = tf.concat([points, tf.math.log(power)[:, None]], axis=-1)
        cells = self.mvdr.dictionary.in_cells
        apart = tf.reduce_max(tf.abs(cells(points)[:, None] - cells(paths.parameters[:, :3])), axis=-1)  # [peaks, A]
        same = tf.cast(apart <= self.config.detection.merge_cells, tf.int32)
        which = tf.argmax(tf.pad(same, [[0, 0], [0, 1]], constant_values=1), axis=-1)  # A: a new source
        known = tf.pad(paths.parameters[:, :PARAMETERS_PER_ATOM], [[0, 1], [0, 0]])
        is_new = tf.reduce_sum(same, axis=-1) == 0
        parameters = tf.where(is_new[:, None], new, tf.gather(known, which))
        unchanged = tf.reduce_all(tf.reduce_sum(same, axis=0) == 1) & ~tf.reduce_any(is_new)
        everything = tf.ones_like(is_new)
        return direct_paths(parameters, everything, paths.noise_power), unchanged

    def _with_proposals(self, paths: Paths, shown: Proposals) -> tuple[Paths, tf.Tensor]:
        """Adds proposals of the refiner to the sources of one scene; also whether there were any, [] bool."""
        atoms = join_proposals(paths.atoms(self.backbone.slots), shown, self.backbone.dictionary)
        joined = direct_paths(*(part[0] for part in atoms))
        return joined, joined.count != paths.count

    def report(
        self, candidates: "ScoredPeaks", min_score: float, *, with_features: bool = False
    ) -> dict[str, tf.Tensor]:
        """The outputs of `localize`: the K_max best candidates with at least this score.

        `with_features` adds `score_features`, [B, K_max, NUM_FEATURES] float32.
        """
        decision = candidates.decision
        score, order = tf.math.top_k(decision.score, self.scenario.max_sources)
        keep = (score >= min_score) & (score > 0.0)
        fields = {
            "azimuth_deg": DEGREES * decision.azimuth,
            "elevation_deg": DEGREES * decision.elevation,
            "range_m": decision.range_m,
            "power_db": 10.0 * tf.math.log(tf.maximum(candidates.power, 1e-12)) / math.log(10.0),
            "score": decision.score,
            "position_m": decision.position_m,
            "position_cov_m2": decision.position_cov_m2,
        }
        if with_features:
            fields["score_features"] = candidates.features
        report = {"num_sources": tf.reduce_sum(tf.cast(keep, tf.int32), axis=-1)}
        report["num_paths"] = tf.where(keep, tf.gather(candidates.num_paths, order, batch_dims=1), 0)
        if self.refiner is not None:
            report["refined"] = candidates.refined
        for name, value in fields.items():
            value = tf.gather(value, order, batch_dims=1)
            mask = tf.reshape(keep, tf.concat([tf.shape(keep), [1] * (value.shape.rank - 2)], 0))
            report[name] = tf.where(mask, value, float("nan"))
        return report


def _in_slots(values: tf.Tensor, slots: int | tf.Tensor) -> tf.Tensor:
    """Values of the sources [A, ...] in `slots` slots [slots, ...]; the others are zero."""
    spare = [[0, slots - tf.minimum(tf.shape(values)[0], slots)], *[[0, 0]] * (values.shape.rank - 1)]
    return tf.pad(values[:slots], spare)


class Analysis(NamedTuple):
    """Results of the steps before the sources are located.

    prediction: R_pred and its atoms.
    effective: R_eff.
    spectrum: P of R_eff on the grid, [B, azimuth, elevation, range] float32.
    peaks: off-grid peaks of the spectrum.
    """

    prediction: Prediction
    effective: LowRankCovariance
    spectrum: tf.Tensor
    peaks: Peaks

    def contrast(self) -> tf.Tensor:
        """The spectrum relative to the floor of R_eff, its value away from all sources; shape of `spectrum`."""
        return self.spectrum / self.effective.floor[:, None, None, None]


class ScoredPeaks(NamedTuple):
    """Candidate sources of B scenes.

    decision: positions, covariances and scores, [B, A].
    power: mean received power relative to the scene, [B, A] float32.
    num_paths: [B, A] int32.
    features: inputs of the score correction, [B, A, NUM_FEATURES] float32.
    refined: true if the heat map of a refiner was used, [B] bool.
    """

    decision: Decision
    power: tf.Tensor
    num_paths: tf.Tensor
    features: tf.Tensor
    refined: tf.Tensor


def true_covariance(truth: Mapping[str, tf.Tensor], scenario: Scenario) -> LowRankCovariance:
    """R_true = sum_k p_k a_k a_k^H, without noise, scaled to unit trace.

    `truth` has azimuth, elevation (radians), range_m, power, all [B, K_max] float32, and num_sources [B] integer.
    """
    used = tf.sequence_mask(truth["num_sources"], truth["azimuth"].shape[-1])
    inverse_range = 1.0 / tf.where(used, truth["range_m"], 1.0)
    points = (truth["azimuth"], truth["elevation"], inverse_range)
    vectors = tf.linalg.matrix_transpose(steering_vectors(*points, scenario.array))
    norm2 = steering_norm2(*points, scenario.array)
    power = tf.where(used, truth["power"], 0.0)
    power /= tf.reduce_sum(power * norm2, axis=-1, keepdims=True)
    return LowRankCovariance(vectors * tf.cast(tf.sqrt(power), vectors.dtype)[:, None, :], tf.zeros_like(power[:, 0]))
