"""The plan of a run: which steps are done, and which are to run."""

import dataclasses
from collections.abc import Iterator, Sequence

from pipeline.common.artifacts import Differs
from pipeline.run.steps import Step


@dataclasses.dataclass(frozen=True)
class Planned:
    """A step, and whether its results already exist."""

    step: Step
    is_done: bool


def make_plan(steps: Sequence[Step]) -> list[Planned]:
    """Checks the folders of all steps. Every step after the first one that is to run is to run as well. Raises
    `Differs` if a folder holds results of other options or inputs."""
    found: list[Planned] = []
    for step in steps:
        before = all(planned.is_done for planned in found)
        found.append(Planned(step, before and _is_done(step)))
    return found


def _is_done(step: Step) -> bool:
    try:
        return step.is_done()
    except Differs as error:
        raise Differs(f"{step.name}: {error}") from None
    except FileNotFoundError:
        return False


def plan_lines(plan: Sequence[Planned]) -> Iterator[str]:
    """The plan as log lines."""
    for planned in plan:
        what = "unchanged" if planned.is_done else f"runs, about {duration(planned.step.seconds)}"
        yield f"  {planned.step.name:<15} {what}"
    left = sum(planned.step.seconds for planned in plan if not planned.is_done)
    yield f"  to do: about {duration(left)} on two quiet cores" if left else "  nothing to do"


def duration(seconds: float) -> str:
    """Formats a duration, such as "40 s", "3 min" or "1.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
