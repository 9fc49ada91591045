"""The search loop of the estimator: propose a change of the model, refine it, keep it if it is more likely."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import tensorflow as tf

from models.covariance_estimator.likelihood import Evaluation
from models.covariance_estimator.paths import Paths


class Model(Protocol):
    """Paths of a scene and the likelihood at them; a named tuple of tensors, which may have further fields."""

    @property
    def paths(self) -> Paths: ...

    @property
    def evaluation(self) -> Evaluation: ...


AnyModel = TypeVar("AnyModel", bound=Model)
Structure = TypeVar("Structure")
Proposal = tuple[Paths, tf.Tensor]
"""Changed paths, and whether they are worth a try, [] bool."""


def with_free_shapes(model: Structure) -> Structure:
    """Shapes of a model in a loop: the sizes of all axes are free except the last ones of known size."""
    return tf.nest.map_structure(lambda part: tf.TensorShape([None, *part.shape[1:]][: part.shape.rank]), model)


def improve(
    model: AnyModel,
    proposers: Sequence[Callable[[AnyModel], Proposal]],
    refined: Callable[[Paths], AnyModel],
    most: int | tf.Tensor,
) -> AnyModel:
    """Follows the first proposer until it fails, then the next one, and so on.

    Args:
      model: the initial model.
      proposers: they propose changes of the model. A proposer fails if its proposal is not worth a try, or is not more
        likely after refinement.
      refined: refines proposed paths and evaluates them.
      most: largest number of accepted changes.
    """

    def unfinished(number: tf.Tensor, turn: tf.Tensor, _: AnyModel) -> tf.Tensor:
        return (number < most) & (turn < len(proposers))

    def body(number: tf.Tensor, turn: tf.Tensor, model: AnyModel) -> tuple[tf.Tensor, tf.Tensor, AnyModel]:
        choices = [lambda propose=propose: propose(model) for propose in proposers]
        proposed, wanted = choices[0]() if len(choices) == 1 else tf.switch_case(turn, choices)
        reached = tf.cond(wanted, lambda: refined(proposed), lambda: model)
        better = reached.evaluation.nll < model.evaluation.nll
        model = tf.cond(better, lambda: reached, lambda: model)
        step = tf.cast(better, tf.int32)
        return number + step, turn + 1 - step, model

    free = (tf.TensorShape([]), tf.TensorShape([]), with_free_shapes(model))
    return tf.while_loop(unfinished, body, (tf.constant(0), tf.constant(0), model), shape_invariants=free)[2]
