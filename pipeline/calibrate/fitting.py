"""The search for the element response: passes over the scenes, a step of Fisher scoring after each.

A pass brings every scene's sources up to date under the g of now, by a few steps from where they were or, in some
passes, by locating them anew, and adds up the statistics. The step that follows moves g as if the sources moved along
(`pipeline.calibrate.statistics`), which takes a handful of passes where expectation maximisation takes dozens. A step
that lowers the likelihood is taken again more cautiously, down to that of expectation maximisation. One fold of the
scenes is held out until its likelihood rises no more; the last step is of all scenes.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np

from pipeline.calibrate.anchors import NO_ANCHORS, Anchors
from pipeline.calibrate.options import FitConfig
from pipeline.calibrate.scenes import SceneFiles, SceneModel, Sources
from pipeline.calibrate.solution import Prior, as_real, settled, solve
from pipeline.calibrate.sums import Sums, no_scenes, total

_CAUTION = (0.0, 0.5, 0.9, 1.0)


@dataclasses.dataclass(frozen=True)
class FitState:
    """Where a search stands, enough to go on after a kill: g of the next pass [N] complex128, the prior of the next
    step, and whether the search is on all scenes yet."""

    response: np.ndarray
    prior: Prior = Prior()
    on_all: bool = False


@dataclasses.dataclass(frozen=True)
class Pass:
    """What a pass over the scenes found at one response: sums of each fold, the first one held out."""

    response: np.ndarray
    folds: tuple[Sums, ...]
    located: bool

    def fitted(self) -> Sums:
        """Of the folds that are not held out; of all, where the scenes fill no second one."""
        fitted = total(self.folds[1:], self.response.size)
        return fitted if fitted.scenes else self.folds[0]

    def everything(self) -> Sums:
        """Of all folds."""
        return total(self.folds, self.response.size)

    @property
    def held_nll(self) -> float:
        """NLL of a held-out scene."""
        return self.folds[0].nll / max(self.folds[0].scenes, 1.0)


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A finished search: the last pass and the prior, the passes it took, and the log-likelihood that a held-out scene
    gained from first to last."""

    last: Pass
    prior: Prior
    passes: int
    held_gain: float


class Fit:
    """A search for g.

    Args:
      model: the localizer's likelihood.
      files: the scenes.
      anchors: known places, by number of the scene.
      config: when to locate and to stop.
      start: where to begin.
      past: sums of earlier scenes at the response of `start`, which count beside the files'.
      progress: told what a pass is about to do and how many scenes it takes; gives what is to be told the scenes done.
      keep: given the state after every step.
    """

    def __init__(
        self,
        model: SceneModel,
        files: SceneFiles,
        anchors: Mapping[int, Anchors],
        config: FitConfig,
        start: FitState,
        past: Sums | None = None,
        progress: Callable[[str, int], Callable[[int], None]] = lambda _name, _count: lambda _done: None,
        keep: Callable[[FitState], None] = lambda _: None,
    ) -> None:
        self.model, self.files, self.anchors, self.config, self.start = model, files, anchors, config, start
        self.sources = Sources.unknown(len(files), model.slots)
        self._past = past if past is not None else no_scenes(start.response.size)
        self._progress, self._keep = progress, keep
        self._passes = 0

    def past_at(self, response: np.ndarray) -> Sums:
        """The earlier scenes' sums at another response."""
        return self._past.moved(as_real(response - self.start.response))

    def run_pass(self, response: np.ndarray, every: int, *, locate: bool) -> Pass:
        """One pass at a response.

        Args:
          response: g, [N] complex.
          every: of the rounds of batches, one a fold, one in so many is taken.
          locate: whether scenes are located anew.
        """
        self._passes += 1
        name = f"pass {self._passes}, {'locating' if locate else 'refining'}"
        done = self._progress(name, sum(self.files.sizes(every)))
        single = response.astype(np.complex64)
        folds = [no_scenes(response.size)] * self.files.folds
        for batch in self.files.batches(every):
            self.model.update(self.sources, batch.scenes, batch.inputs, single, locate=locate)
            anchors = [self.anchors.get(scene, NO_ANCHORS) for scene in range(batch.scenes.start, batch.scenes.stop)]
            sums, _ = self.model.summed(self.sources.atoms(batch.scenes), batch.inputs, single, anchors)
            folds[batch.fold] += sums
            done(batch.size)
        return Pass(response, tuple(folds), locate)

    def _search(self, state: FitState, every: int, locating_passes: int) -> tuple[Pass, Prior, float]:
        """Passes and steps until held-out scenes gain no more: the best pass, the prior, NLL of a scene held out at
        the first."""
        accepted: Pass | None = None
        first_held, prior, response, caution, locate = 0.0, state.prior, state.response, 0, True
        for number in range(1, self.config.max_passes + 1):
            found = self.run_pass(response, every, locate=locate)
            if accepted is None or not self._worse(found, accepted):
                if accepted is None:
                    gain, first_held = math.inf, found.held_nll
                else:
                    gain = accepted.held_nll - found.held_nll
                accepted, caution = found, 0
                ended = gain < self.config.tolerance
                if ended and found.located:
                    break
                locate = ended or number < locating_passes
            else:
                caution += 1
                if caution == len(_CAUTION):
                    break
            sums = accepted.fitted() + self.past_at(accepted.response)
            solution = solve(sums, accepted.response, prior, caution=_CAUTION[caution])
            response, prior = settled(solution.response), solution.prior
            self._keep(FitState(response, prior, every == 1))
        assert accepted is not None
        return accepted, prior, first_held

    def _worse(self, found: Pass, accepted: Pass) -> bool:
        """Whether a step lowered the likelihood by more than the scenes' own search may."""
        before = accepted.fitted() + self.past_at(accepted.response)
        after = found.fitted() + self.past_at(found.response)
        return after.nll > before.nll + self.config.tolerance * after.scenes

    def run(self) -> Fitted:
        """The search, on some of the scenes first where they are many; ends with a step of all scenes and a pass."""
        rounds = math.ceil(len(self.files.sizes()) / self.files.folds)
        every = max(1, min(len(self.files) // self.config.first_scenes, rounds))
        state, first_held = self.start, None
        if every > 1 and not state.on_all:
            found, prior, first_held = self._search(state, every, self.config.locating_passes)
            state = FitState(settled(found.response), prior, True)
            self._keep(state)
            locating_passes = 1
        else:
            locating_passes = self.config.locating_passes
        found, prior, held = self._search(state, 1, locating_passes)
        first_held = held if first_held is None else first_held
        solution = solve(found.everything() + self.past_at(found.response), found.response, prior)
        last = self.run_pass(settled(solution.response), 1, locate=False)
        return Fitted(last, solution.prior, self._passes, first_held - found.held_nll)
