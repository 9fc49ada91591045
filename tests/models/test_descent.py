"""The refinement raises the NLL only where it prunes sources, and prunes only those with a low log-likelihood ratio."""

import dataclasses
import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf

from models.covariance_estimator.config import RefinementConfig
from models.covariance_estimator.likelihood import Evaluation, evaluate
from models.covariance_estimator.off_grid_refinement import (
    DAMPING_DOWN,
    DAMPING_START,
    DAMPING_UP,
    NLL_RESOLUTION,
    Refinement,
    parameter_limits,
    scoring_step,
)
from models.covariance_estimator.paths import Paths, path_specs
from models.physics.geometry import RISArray, Scenario
from models.physics.observation import Observation, observe, scene_specs

SCENARIO = Scenario(RISArray(4, 4), num_antennas=6)
VIEW = SCENARIO.field_of_view
SCENES, SOURCES, STEPS = 16, 3, 8
OWNERS = [0, 1, 2, 2, 0]
"""Two of the paths are reflected."""

Refined = tuple[Paths, Evaluation]


@functools.partial(tf.function, autograph=False, input_signature=[scene_specs(6, 16), path_specs()])
def evaluated(observation: Observation, paths: Paths) -> Evaluation:
    return evaluate(observation, paths, SCENARIO.array)


Scenes = list[tuple[Observation, Paths]]


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    """Noise without sources, the hardest case for the refinement, and paths anywhere."""
    rng = np.random.default_rng(4)
    snapshots, codes, channel = (rng.normal(size=(SCENES, *s, 2)) @ [1, 1j] for s in ((8, 6), (8, 16), (6, 16)))
    codes /= np.abs(codes)
    snr_db = tf.constant(rng.uniform(-5.0, 20.0, SCENES), tf.float32)
    observation = observe(*(tf.constant(x, tf.complex64) for x in (snapshots, codes, channel)), snr_db)
    rng = np.random.default_rng(5)
    limits = [VIEW.azimuth, VIEW.elevation, VIEW.inverse_range, (-4.0, 2.0), (-np.pi, np.pi)]
    parameters = np.stack([rng.uniform(*limit, (SCENES, len(OWNERS))) for limit in limits], axis=-1)
    parameters[:, :SOURCES, 4] = 0.0
    parameters[:, SOURCES:, 2] = 0.5 * parameters[:, OWNERS[SOURCES:], 2]
    every = zip(tf.constant(parameters, tf.float32), observation.noise_power, strict=True)
    paths = [Paths(first, tf.constant(OWNERS), noise_power) for first, noise_power in every]
    return [(observation.scene(number), its) for number, its in enumerate(paths)]


def steps_of(scenes: Scenes, config: RefinementConfig, **pruning: float) -> list[list[Refined]]:
    """Paths and evaluation of every scene after 0, 1, ... 8 steps; no scene converges earlier."""
    refinement = Refinement(SCENARIO, dataclasses.replace(config, settling_steps=0, tolerance=0.0))
    return [[refinement(*scene, steps, **pruning) for steps in range(STEPS + 1)] for scene in scenes]


@pytest.fixture(scope="module")
def unpruned(scenes: Scenes) -> list[list[Refined]]:
    return steps_of(scenes, RefinementConfig(), prune_llr=-np.inf, prune_path_llr=-np.inf)


def equal(one: Refined, other: Refined) -> bool:
    """Whether paths and evaluation are the same numbers."""
    parts = zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True)
    return all(np.array_equal(before, after) for before, after in parts)


def test_likelihood_never_falls(unpruned: list[list[Refined]]) -> None:
    for states in unpruned:
        for (_, before), (_, after) in itertools.pairwise(states):
            assert after.nll - before.nll <= NLL_RESOLUTION
        assert states[-1][1].nll < states[0][1].nll


def test_a_rejected_step_changes_only_the_damping(scenes: Scenes, unpruned: list[list[Refined]]) -> None:
    """Against a loop over steps outside the graph."""
    rejected = 0
    for (observation, paths), states in zip(scenes, unpruned, strict=True):
        limits = parameter_limits(SCENARIO, observation.noise_power, RefinementConfig().noise_range_db)
        damping, evaluation = DAMPING_START, states[0][1]
        for before, after in itertools.pairwise(states):
            step = scoring_step(*before, tf.constant(damping, tf.float32), limits)
            trial = Paths(step.parameters[0], paths.source, step.noise_power[0])
            evaluation = evaluated(observation, trial)
            accepted = evaluation.nll < before[1].nll + NLL_RESOLUTION
            assert equal(before, after) != accepted
            np.testing.assert_allclose(after[0].parameters, (trial if accepted else before[0]).parameters, atol=1e-3)
            damping = np.clip(damping * (DAMPING_DOWN if accepted else DAMPING_UP), 1e-4, 1e4)
            rejected += not accepted
    assert 0.05 < rejected / (SCENES * STEPS) < 0.7


def test_a_step_solves_the_damped_normal_equations(unpruned: list[list[Refined]], scenes: Scenes) -> None:
    """Inside the limits. The second step has almost no damping and the first-order improvement is promised."""
    inside = 0
    for (observation, _), states in zip(scenes, unpruned, strict=True):
        (paths, evaluation), damping = states[-1], 0.1
        limits = parameter_limits(SCENARIO, observation.noise_power, RefinementConfig().noise_range_db)
        step = scoring_step(paths, evaluation, tf.constant(damping), limits)
        moved = (step.parameters - paths.parameters).numpy()
        scale = np.append(np.repeat(limits.scale[:4], len(OWNERS)), np.full(2, limits.scale[4]))
        fisher = evaluation.fisher.numpy().astype(np.float64) * np.outer(scale, scale)
        for which, loading in enumerate((damping, 1e-4)):
            loaded = fisher + np.diag(loading * np.diag(fisher) + 1e-6)
            expected = -np.linalg.solve(loaded, evaluation.gradient * scale)
            found = np.append(moved[which, :, :4].T, moved[which, SOURCES:, 4])
            noise_step = float(tf.math.log(step.noise_power[which] / paths.noise_power))
            promised = -0.5 * (found @ evaluation.gradient.numpy() + noise_step * float(evaluation.noise_gradient))
            assert float(step.promise[which]) == pytest.approx(promised, rel=1e-3, abs=1e-4)
            clipped = np.clip(expected, -2.0, 2.0) * scale
            whole = paths.parameters.numpy()[:, :4].T.ravel() + clipped[:-2]
            low, high = (np.repeat(limit[:4], len(OWNERS)) for limit in (limits.low, limits.high))
            free = (whole > low) & (whole < high) & (np.tile(np.arange(len(OWNERS)), 4) < SOURCES)
            free = np.append(free, [True, True])
            inside += np.count_nonzero(free)
            np.testing.assert_allclose(found[free], clipped[free], rtol=5e-2, atol=1e-3)
    assert inside > SCENES * 14


def test_sources_are_dropped_for_their_gain(scenes: Scenes) -> None:
    """Pruning starts with the third step. A scene that prunes does not move in this step.

    Reflected paths go with their source; weak ones alone after the last step.
    """
    config, dropped = RefinementConfig(prune_llr=10.0, prune_after=2), 0
    for (observation, _), states in zip(scenes, steps_of(scenes, config), strict=True):
        for step, ((old, before), (new, after)) in enumerate(itertools.pairwise(states)):
            useless = np.array(before.llr < config.prune_llr) & (step >= config.prune_after)
            if not useless.any():
                assert after.nll - before.nll <= NLL_RESOLUTION or np.any(before.path_llr < 0)
                continue
            gone = np.isin(np.array(old.source), np.flatnonzero(useless))
            expected = old.select(tf.constant(~gone))
            np.testing.assert_array_equal(new.parameters, expected.parameters)
            np.testing.assert_array_equal(new.source, expected.source)
            again = evaluated(observation, new)
            np.testing.assert_allclose(after.nll, again.nll, rtol=1e-5, atol=NLL_RESOLUTION)
            dropped += np.count_nonzero(useless)
    assert dropped > SCENES


def test_weak_reflections_are_dropped_after_the_steps(scenes: Scenes) -> None:
    level, steps = 3.0, 4
    refinement = Refinement(SCENARIO, RefinementConfig(prune_llr=0.0, settling_steps=6))
    kept = refinement(*scenes[0], steps, prune_llr=-np.inf, prune_path_llr=-np.inf)[0]
    assert int(kept.count) == len(OWNERS)
    fewer = [refinement(*scene, steps, prune_llr=-np.inf, prune_path_llr=level) for scene in scenes]
    for paths, evaluation in fewer:
        assert int(paths.num_sources) == SOURCES
        assert np.all(evaluation.path_llr >= level)
    assert 0 < sum(int(paths.count) for paths, _ in fewer) < SCENES * len(OWNERS)


def test_only_unsettled_scenes_go_on(scenes: Scenes) -> None:
    """A scene stops at the first step, after the given ones, after which further ones change nothing.

    Ten further steps raise the damping so much that one is accepted, unless the scene has converged.
    """
    steps, further = 6, 14
    config = RefinementConfig(tolerance=0.3)
    short, longer, settling = (
        Refinement(SCENARIO, dataclasses.replace(config, settling_steps=number)) for number in (0, 10, further)
    )
    taken, difference = [], []
    for observation, paths in scenes[:6]:
        scene = (observation, paths.select(tf.range(len(OWNERS)) < SOURCES))

        def reached(refinement: Refinement, number: int, scene: tuple[Observation, Paths] = scene) -> Refined:
            return refinement(*scene, number, prune_llr=-np.inf)

        number = steps
        while number < steps + further and not equal(reached(short, number), reached(longer, number)):
            number += 1
        settled = reached(settling, steps)
        assert equal(settled, reached(short, number))
        assert settled[1].nll <= reached(short, steps)[1].nll + NLL_RESOLUTION
        taken.append(number)
        difference.append(settled[1].nll - reached(short, steps + further)[1].nll)
    assert min(taken) == steps and len(set(taken)) > 3
    assert np.all(np.abs(difference) < 5.0)


def test_evaluation_belongs_to_the_paths(scenes: Scenes, unpruned: list[list[Refined]]) -> None:
    """Also if the last step was rejected."""
    for (observation, _), states in zip(scenes, unpruned, strict=True):
        for paths, evaluation in states:
            again = evaluated(observation, paths)
            np.testing.assert_allclose(evaluation.nll, again.nll, rtol=1e-5, atol=NLL_RESOLUTION)
            np.testing.assert_allclose(evaluation.llr, again.llr, rtol=1e-3, atol=1e-2)
            np.testing.assert_allclose(evaluation.path_llr, again.path_llr, rtol=1e-3, atol=1e-2)
