"""The off-grid refinement as one graph function that all calls with the same number of slots share."""

import tensorflow as tf

from models.covariance_estimator.config import RefinementConfig
from models.covariance_estimator.likelihood import Atoms, Evaluation, atom_specs
from models.covariance_estimator.off_grid_refinement import refine_atoms, skips_refinement
from models.physics.geometry import FieldOfView, RISArray
from models.physics.observation import Observation, observation_specs


class SharedRefinement:
    """`refine_atoms` for one installation.

    A localizer refines four times. Inlining every call would make the graph a third larger, and slower to trace, load
    and start.
    """

    def __init__(self, array: RISArray, field_of_view: FieldOfView, config: RefinementConfig) -> None:
        self.array, self.field_of_view, self.config = array, field_of_view, config
        self._shared = tf.function(self._fisher_scoring, autograph=False, experimental_attributes={"_noinline": True})

    def __call__(
        self, observation: Observation, atoms: Atoms, steps: int, prune_llr: float | None = None
    ) -> tuple[Atoms, Evaluation]:
        """`refine_atoms`, without gradient. `steps` and `prune_llr` have the same meaning there."""
        observation, atoms = tf.nest.map_structure(tf.stop_gradient, (observation, atoms))
        least = self.config.prune_llr if prune_llr is None else prune_llr
        if tf.executing_eagerly() or skips_refinement(self.config, steps):
            return refine_atoms(observation, atoms, self.array, self.field_of_view, self.config, steps, least)
        _, num_antennas, num_elements = observation.channel.shape
        shared = self._shared.get_concrete_function(
            observation_specs(num_antennas, num_elements),
            atom_specs(atoms.active.shape[-1]),
            tf.TensorSpec([], tf.int32, "steps"),
            tf.TensorSpec([], tf.float32, "prune_llr"),
        )
        found = shared(observation, atoms, tf.constant(steps), tf.constant(least, tf.float32))
        # Repeats the static shapes: TensorFlow's optimizer does not look into a function that is not inlined.
        return tf.nest.map_structure(lambda value: tf.ensure_shape(value, value.shape), found)

    def _fisher_scoring(
        self, observation: Observation, atoms: Atoms, steps: tf.Tensor, prune_llr: tf.Tensor
    ) -> tuple[Atoms, Evaluation]:
        return refine_atoms(observation, atoms, self.array, self.field_of_view, self.config, steps, prune_llr)
