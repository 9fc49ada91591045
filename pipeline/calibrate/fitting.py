"""Fits the element response: passes over the scenes, with a step of Fisher scoring after each pass.

A pass updates the sources of every scene for the current g and adds up the statistics. It refines the sources by a few
steps; some passes also locate them anew. The step of g that follows accounts for the sources moving with it
(`pipeline.calibrate.statistics`), so a handful of passes is enough; expectation maximisation needs dozens. A step that
lowers the likelihood is repeated more cautiously, at last as a step of expectation maximisation. One fold of the scenes
is held out; the search stops when its likelihood no longer rises. The last step uses all scenes.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np

from pipeline.calibrate.anchors import NO_ANCHORS, Anchors
from pipeline.calibrate.options import FitConfig
from pipeline.calibrate.scenes import SceneFiles, SceneModel, Sources
from pipeline.calibrate.solution import Prior, as_real, normalized, solve
from pipeline.calibrate.sums import Sums, no_scenes, total

_CAUTION = (0.0, 0.5, 0.9, 1.0)


@dataclasses.dataclass(frozen=True)
class FitState:
    """State of a search, enough to resume it.

    response: g of the next pass, [N] complex128. prior: prior of the next step.
    on_all: whether the search already uses all scenes.
    """

    response: np.ndarray
    prior: Prior = Prior()
    on_all: bool = False


@dataclasses.dataclass(frozen=True)
class Pass:
    """Result of a pass over the scenes with fixed element gains.

    response: the gains g, [N] complex128.
    folds: sums of each fold; the first fold is held out.
    located: whether the pass located the sources again.
    """

    response: np.ndarray
    folds: tuple[Sums, ...]
    located: bool

    def fitted(self) -> Sums:
        """Sums of the folds that are not held out; of all scenes if they fill only one fold."""
        fitted = total(self.folds[1:], self.response.size)
        return fitted if fitted.scenes else self.folds[0]

    def everything(self) -> Sums:
        """Sums of all folds."""
        return total(self.folds, self.response.size)

    @property
    def held_nll(self) -> float:
        """Mean negative log-likelihood of a held-out scene."""
        return self.folds[0].nll / max(self.folds[0].scenes, 1.0)


@dataclasses.dataclass(frozen=True)
class FitResult:
    """Result of a search.

    last: the last pass. prior: final prior. passes: number of passes.
    held_gain: rise of the log-likelihood per held-out scene, from the first to the last pass.
    """

    last: Pass
    prior: Prior
    passes: int
    held_gain: float


class Fit:
    """Searches for g.

    Args:
      model, files: likelihood of the localizer, and the scenes.
      anchors: known source positions, by scene number.
      config: when to locate and when to stop.
      start: initial state.
      past: sums of earlier scenes at the response of `start`; they are added to the sums of the files.
      progress: called before each pass with its name and number of scenes; returns a callback that takes the number
        of scenes just finished.
      keep: called with the state after every step.
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
        """Sums of the earlier scenes at another response."""
        return self._past.moved(as_real(response - self.start.response))

    def run_pass(self, response: np.ndarray, every: int, *, locate: bool) -> Pass:
        """Runs one pass at the response g, [N] complex, over every so many-th round of batches; a round is one batch
        per fold. With `locate`, it locates the sources anew."""
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
        """Alternates passes and steps until the likelihood of the held-out scenes no longer rises. Returns the best
        pass, the prior, and the negative log-likelihood per held-out scene at the first pass."""
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
            response, prior = normalized(solution.response), solution.prior
            self._keep(FitState(response, prior, every == 1))
        assert accepted is not None
        return accepted, prior, first_held

    def _worse(self, found: Pass, accepted: Pass) -> bool:
        """Whether a step lowered the likelihood by more than the search for the sources may explain."""
        before = accepted.fitted() + self.past_at(accepted.response)
        after = found.fitted() + self.past_at(found.response)
        return after.nll > before.nll + self.config.tolerance * after.scenes

    def run(self) -> FitResult:
        """Runs the search. With many scenes, it starts on a subset; it ends with a step and a pass of all scenes."""
        rounds = math.ceil(len(self.files.sizes()) / self.files.folds)
        every = max(1, min(len(self.files) // self.config.first_scenes, rounds))
        state, first_held = self.start, None
        if every > 1 and not state.on_all:
            found, prior, first_held = self._search(state, every, self.config.locating_passes)
            state = FitState(normalized(found.response), prior, True)
            self._keep(state)
            locating_passes = 1
        else:
            locating_passes = self.config.locating_passes
        found, prior, held = self._search(state, 1, locating_passes)
        first_held = held if first_held is None else first_held
        solution = solve(found.everything() + self.past_at(found.response), found.response, prior)
        last = self.run_pass(normalized(solution.response), 1, locate=False)
        return FitResult(last, solution.prior, self._passes, first_held - found.held_nll)
