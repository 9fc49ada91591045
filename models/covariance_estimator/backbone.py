"""The backbone: an unrolled sparse Bayesian covariance estimator with learned corrections and off-grid refinement.

Grid stages update gamma <- gamma (v / q)^beta exp(correction). The last layer of a correction is initialised to zero,
so that the untrained backbone is the classical fixed point (Wipf and Rao 2004). Learned-SBL (arXiv 1909.08185) is a
similar unrolled estimator. The start network and the off-grid refinement turn the strongest clusters of gamma into
off-grid atoms. R_pred is the covariance of the atoms plus a floor, so that it is positive definite and its peaks are
sharp. No weight depends on H or on the codes.
"""

import dataclasses
from typing import NamedTuple

import keras
import tensorflow as tf

from models.checked import stored
from models.covariance_estimator.atoms import Atoms
from models.covariance_estimator.config import BackboneConfig
from models.covariance_estimator.dictionary import PolarDictionary
from models.covariance_estimator.greedy_selection import GreedySelection, Refined
from models.covariance_estimator.layers import build_in_turn
from models.covariance_estimator.new_source import effective_rank
from models.covariance_estimator.off_grid_refinement import Refinement, atoms_scene_by_scene
from models.covariance_estimator.paths import direct_paths
from models.covariance_estimator.spectral_maps import LikelihoodMaps, atom_maps, diffuse_maps
from models.covariance_estimator.start import Candidates, StartNetwork, find_candidates, started_atoms
from models.physics.covariance import LowRankCovariance
from models.physics.geometry import Scenario
from models.physics.observation import Observation, observe
from models.physics.steering import steering_norm2


class GridState(NamedTuple):
    """Powers gamma on the grid after a grid stage, [B, G] float32, and the maps from which it was computed."""

    gamma: tf.Tensor
    maps: LikelihoodMaps


class Prediction(NamedTuple):
    """Output of the backbone.

    covariance: R_pred.
    atoms: its atoms.
    nll: negative log-likelihood of the atoms, [B] float32.
    grid: the last grid stage.
    """

    covariance: LowRankCovariance
    atoms: Atoms
    nll: tf.Tensor
    grid: GridState


@keras.saving.register_keras_serializable("ris_mvdr")
class GridCorrection(keras.layers.Layer):
    """A 3-D CNN of `depth` convolutions with `width` channels on `shape` (azimuth, elevation, range) cells.

    It maps likelihood maps to a log-correction of gamma, which is zero before training.
    """

    def __init__(self, width: int, depth: int, shape: tuple[int, int, int], **kwargs) -> None:
        super().__init__(**kwargs)
        self.width, self.depth, self.shape = width, depth, tuple(shape)
        self.hidden = [
            keras.layers.Conv3D(width, 3, padding="same", activation="gelu", name=f"hidden_{i}")
            for i in range(depth - 1)
        ]
        self.readout = keras.layers.Conv3D(1, 3, padding="same", kernel_initializer="zeros", name="readout")

    def build(self, input_shape) -> None:
        build_in_turn([*self.hidden, self.readout], input_shape)

    def call(self, features: tf.Tensor) -> tf.Tensor:
        """features [B, azimuth, elevation, range, F] float32 -> log-correction [B, G] float32."""
        for layer in self.hidden:
            features = layer(features)
        return tf.reshape(self.readout(features), [tf.shape(features)[0], -1])

    def get_config(self) -> dict:
        return {**super().get_config(), "width": self.width, "depth": self.depth, "shape": self.shape}


def grid_features(state: GridState, observation: Observation, shape: tuple[int, int, int]) -> tf.Tensor:
    """Features of a grid stage, inputs of `GridCorrection`: [B, *shape, NUM_FEATURES] float32.

    Log v/q and its positive part, log(1 + log-likelihood ratio), log gamma q, log Newton power, log q, log noise power.
    """
    v, q = state.maps
    floor = 1e-6
    log_ratio = tf.math.log((v + floor) / (q + floor))
    llr = state.maps.log_likelihood_ratio(tf.shape(observation.snapshots)[1])
    noise = tf.math.log(observation.noise_power)[:, None] * tf.ones_like(v)
    maps = [
        log_ratio,
        tf.nn.relu(log_ratio),
        tf.math.log1p(llr),
        0.2 * tf.math.log(state.gamma * q + floor),
        0.2 * tf.math.log(state.maps.newton_power() + floor),
        0.2 * tf.math.log(q + floor),
        0.2 * noise,
    ]
    return tf.reshape(tf.stack(maps, axis=-1), [-1, *shape, len(maps)])


NUM_FEATURES = 7


@keras.saving.register_keras_serializable("ris_mvdr")
class Backbone(keras.Model):
    """Keras model that estimates R_pred from a measurement.

    Examples:
      >>> backbone = Backbone(Scenario(), BackboneConfig())
      >>> prediction = backbone.predict_covariance(observe(snapshots, ris_codes, channel, snr_db))
      >>> prediction.covariance.dense()  # [B, N, N]
    """

    def __init__(self, scenario: Scenario = Scenario(), config: BackboneConfig = BackboneConfig(), **kwargs) -> None:
        super().__init__(**kwargs)
        self.scenario, self.config = scenario, config
        self.dictionary = PolarDictionary(scenario.array, scenario.field_of_view, config.grid)
        self.corrections = [
            GridCorrection(config.width, config.depth, config.grid.shape, name=f"correction_{i}")
            for i in range(config.stages)
        ]
        for correction in self.corrections:
            correction.build((None, *config.grid.shape, NUM_FEATURES))
        self.start = StartNetwork(config.start, name="start")
        self.refinement = Refinement(scenario, config.refinement)
        self.selection = GreedySelection(self.dictionary, self.refinement, self.slots)
        self.built = True

    @property
    def slots(self) -> int:
        """Largest number of atoms."""
        return self.scenario.max_sources + self.config.refinement.spare_atoms

    @property
    def grid_variables(self) -> list[keras.Variable]:
        """Trainable weights of the grid stages."""
        return [variable for correction in self.corrections for variable in correction.trainable_variables]

    @property
    def learned_variables(self) -> list[keras.Variable]:
        """Trainable weights of the grid stages and of the start network."""
        return [*self.grid_variables, *self.start.trainable_variables]

    def get_config(self) -> dict:
        return {"scenario": dataclasses.asdict(self.scenario), "config": dataclasses.asdict(self.config)}

    @classmethod
    def from_config(cls, config: dict) -> "Backbone":
        if not {"grid", "start", "refinement"} <= config["config"].keys():
            raise TypeError(f"expected settings of grid, start and refinement, got {', '.join(config['config'])}")
        return cls(stored(config["scenario"], Scenario), stored(config["config"], BackboneConfig))

    def split(self, gamma: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Splits gamma [B, G] into its strongest grid points and an even remainder.

        Returns unit-norm steering vectors [B, N, P] complex64, powers [B, P] and the remaining power per element [B]
        float32.
        """
        powers, indices = tf.math.top_k(gamma, self.config.active_atoms, sorted=False)
        atoms = tf.linalg.matrix_transpose(tf.gather(self.dictionary.vectors, indices))
        rest = tf.maximum(tf.reduce_sum(gamma, axis=-1) - tf.reduce_sum(powers, axis=-1), 0.0)
        return atoms, powers, rest / self.scenario.array.num_elements

    def grid_stages(self, observation: Observation) -> list[GridState]:
        """Runs the unrolled stages and returns the state after each.

        A stage is differentiable with respect to its own correction only. Gradients between stages would cost three
        times the forward pass; instead, every stage has its own loss.
        """
        signal_power = 1.0 - observation.noise_power
        gamma = tf.tile(signal_power[:, None] / self.config.grid.size, [1, self.config.grid.size])
        states: list[GridState] = []
        for stage, correction in enumerate(self.corrections):
            if stage == 0:
                maps = diffuse_maps(observation, self.dictionary, signal_power / self.scenario.array.num_elements)
            else:
                gamma = tf.stop_gradient(gamma)
                maps = atom_maps(observation, self.dictionary, *self.split(gamma), observation.noise_power)
            features = grid_features(GridState(gamma, maps), observation, self.config.grid.shape)
            log_step = self.config.exponent * tf.math.log((maps.v + 1e-12) / (maps.q + 1e-12))
            gamma = gamma * tf.exp(tf.clip_by_value(log_step + correction(features), -20.0, 20.0))
            states.append(GridState(gamma, maps))
        return states

    def candidates(self, state: GridState, noise_power: tf.Tensor) -> Candidates:
        """The peaks of a grid stage as inputs of the start network; noise_power is [B] float32."""
        count = max(self.config.start.candidates, self.scenario.max_sources)
        return find_candidates(state.gamma, state.maps, noise_power, self.dictionary, count)

    def first_atoms(self, state: GridState, noise_power: tf.Tensor) -> Atoms:
        """Initial atoms from the start network, at most K_max.

        Greedy selection may add more later. Several atoms around a strong source would slow each other down.
        """
        found, least = self.candidates(state, noise_power), self.config.start.min_presence
        return started_atoms(found, self.start(found), noise_power, self.dictionary, self.scenario.max_sources, least)

    def covariance(self, atoms: Atoms) -> LowRankCovariance:
        """R_pred: the covariance of the atoms plus a floor of 1/1000 of their power."""
        array = self.scenario.array
        amplitude = tf.cast(tf.sqrt(atoms.powers()), tf.complex64)
        azimuth, elevation, inverse_range, _ = tf.unstack(atoms.parameters, axis=-1)
        norm2 = steering_norm2(azimuth, elevation, inverse_range, array)
        floor = 1e-3 * (tf.reduce_sum(atoms.powers() * norm2, axis=-1) + 1e-6) / array.num_elements
        return LowRankCovariance(atoms.steering(array) * amplitude[:, None, :], floor)

    def search(self, scene: Observation, first: Atoms) -> Refined:
        """Off-grid refinement of the first atoms and greedy selection of further ones, for one scene.

        `scene` and `first` have no axis B. A scene with a low-rank channel starts without atoms. Has no gradient.
        """
        config = self.config.refinement
        low_rank = effective_rank(scene.channel) < config.low_rank_threshold
        paths = direct_paths(first.parameters, first.active & ~low_rank, first.noise_power)
        return self.selection(scene, Refined(*self.refinement(scene, paths, config.steps)), low_rank)

    def predict_covariance(self, observation: Observation) -> Prediction:
        """The whole estimator: grid stages, start, off-grid refinement and greedy selection.

        Only the field `grid` of the result has gradients.
        """
        state = self.grid_stages(observation)[-1]
        first = self.first_atoms(state, observation.noise_power)
        atoms, nll = atoms_scene_by_scene(self.search, observation, first, self.slots)
        return Prediction(self.covariance(atoms), atoms, nll, state)

    def call(self, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        """R_pred [B, N, N] complex64 from a dictionary with snapshots, ris_codes, channel and snr_db, see `observe`."""
        names = ("snapshots", "ris_codes", "channel", "snr_db")
        return self.predict_covariance(observe(*(inputs[name] for name in names))).covariance.dense()
