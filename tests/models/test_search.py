"""The search loop: proposers in order, only more likely models, a largest number of changes."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from models.covariance_estimator.likelihood import Evaluation, evaluation_specs
from models.covariance_estimator.paths import Paths
from models.covariance_estimator.search import Proposal, improve


class Model(NamedTuple):
    """A model with a field of its own."""

    paths: Paths
    evaluation: Evaluation
    square: tf.Tensor


Nll = Callable[[float], float]
EMPTY = tf.nest.map_structure(lambda spec: tf.zeros([size or 0 for size in spec.shape]), evaluation_specs(1))


class Search:
    """Models with one number, which is the log power of the last source. Notes what was refined."""

    def __init__(self, nll: Nll) -> None:
        self.nll, self.tried = nll, []

    def refined(self, paths: Paths) -> Model:
        value = float(paths.parameters[-1, 3])
        self.tried.append(value)
        nll = tf.constant(self.nll(value), tf.float32)
        return Model(paths, EMPTY._replace(nll=nll), paths.parameters[-1, 3] ** 2)

    def start(self) -> Model:
        model = self.refined(Paths(tf.zeros([1, 5]), tf.constant([0]), tf.constant(0.1)))
        self.tried.clear()
        return model


def moves(by: float, until: float = np.inf) -> Callable[[Model], Proposal]:
    """Proposes a further source whose number is that of the last one and `by`."""

    def propose(model: Model) -> Proposal:
        value = model.paths.parameters[-1, 3] + by
        return model.paths.with_source(tf.stack([0.0, 0.0, 0.1, value])), tf.abs(value) < until

    return propose


def test_proposers_take_turns_in_order() -> None:
    """The first one while it helps, then the second one; the first one is not asked again."""
    search = Search(lambda value: abs(value - 2.0))
    model = improve(search.start(), [moves(1.0), moves(-0.25), moves(0.125)], search.refined, 9)
    assert search.tried == [1.0, 2.0, 3.0, 1.75, 2.125]
    assert float(model.paths.parameters[-1, 3]) == 2.0
    assert int(model.paths.count) == 3
    assert (float(model.evaluation.nll), float(model.square)) == (0.0, 4.0)
    search = Search(lambda value: -value)
    assert (
        float(improve(search.start(), [moves(-1.0), moves(2.0, 5.0), moves(1.0, 6.0)], search.refined, 9).square) == 25
    )
    assert search.tried == [-1.0, 2.0, 4.0, 5.0]


@pytest.mark.parametrize("seed", range(8))
def test_a_less_likely_model_is_never_taken(seed: int) -> None:
    """Neither is one that is as likely, or whose likelihood is not a number."""
    rng = np.random.default_rng(seed)
    drawn: dict[float, float] = {0.0: 1.0}
    search = Search(lambda value: drawn.setdefault(value, rng.choice([np.nan, np.inf, *rng.normal(size=3), 1.0])))
    steps = 2.0 ** -np.arange(6)
    model = improve(search.start(), [moves(by) for by in steps], search.refined, 99)
    now, turn = 0.0, 0
    for value in search.tried:
        assert value == now + steps[turn]
        better = np.float32(drawn[value]) < np.float32(drawn[now])
        now, turn = (value, turn) if better else (now, turn + 1)
    assert turn == len(steps)
    assert float(model.evaluation.nll) == np.float32(drawn[now])
    assert float(model.paths.parameters[-1, 3]) == now


def test_no_try_without_a_wish_and_no_more_changes_than_allowed() -> None:
    search = Search(lambda value: -abs(value))
    first = search.start()
    same = improve(first, [moves(1.0, 0.0), moves(-1.0, 0.0)], search.refined, 9)
    assert search.tried == []
    for before, after in zip(tf.nest.flatten(first), tf.nest.flatten(same), strict=True):
        np.testing.assert_array_equal(before, after)
    assert float(improve(first, [moves(1.0)], search.refined, 0).square) == 0.0
    assert float(improve(first, [moves(1.0), moves(-1.0)], search.refined, 4).square) == 16.0
    assert search.tried == [1.0, 2.0, 3.0, 4.0]


def test_in_a_graph_it_is_the_same() -> None:
    """The number of paths changes within the loop."""

    def refined(paths: Paths) -> Model:
        value = paths.parameters[-1, 3]
        return Model(paths, EMPTY._replace(nll=tf.abs(value - 2.0)), value**2)

    @tf.function(autograph=False)
    def found() -> Model:
        start = refined(Paths(tf.zeros([1, 5]), tf.constant([0]), tf.constant(0.1)))
        return improve(start, [moves(0.75), moves(-0.125), moves(1.0)], refined, 9)

    model = found()
    np.testing.assert_allclose(model.paths.parameters[:, 3], [0.0, 0.75, 1.5, 2.25, 2.125, 2.0])
    np.testing.assert_array_equal(model.paths.source, range(6))
    assert float(model.square) == 4.0
