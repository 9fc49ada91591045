"""`python -m tests.rigs.soak`: tests pushes and roll-backs under load, hostile requests, and shutdown under load."""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.rigs.soak.ends import ends_under_load
from tests.rigs.soak.hostile import be_hostile
from tests.rigs.soak.pushes import LoadReport, push_versions, roll_back_and_forth

_MAX_GROWTH = 0.05


def _all_answered(check: str, report: LoadReport, versions: int) -> bool:
    by_version = ", ".join(f"version {version}: {count}" for version, count in sorted(report.answers.items()))
    print(f"{check}: {report.answers.total()} answers ({by_version}), {report.mixed} of another version than they say, "
          f"{len(report.failures)} failed {report.failures[:3] or ''}")  # fmt: skip
    return not report.mixed and not report.failures and len(report.answers) == versions


def _pushes(folder: Path, options: argparse.Namespace) -> bool:
    report = push_versions(folder, options.versions, options.clients, options.requests)
    return _all_answered("push", report, options.versions + 1)


def _roll_backs(folder: Path, options: argparse.Namespace) -> bool:
    return _all_answered("roll-back", roll_back_and_forth(folder, options.roll_backs, options.clients), 2)


def _hostile(folder: Path, options: argparse.Namespace) -> bool:
    report = be_hostile(folder, options.hostile)
    for kind, count in sorted(report.statuses.items()):
        print(f"  {kind}: {count}")
    megabytes = [round(value / 2**20) for value in report.resident_bytes]
    print(f"hostile: {options.hostile} requests, {len(report.wrong)} with a wrong status {report.wrong[:3] or ''}, "
          f"memory {megabytes} MiB, growth {100 * report.growth():.1f} %")  # fmt: skip
    return not report.wrong and report.growth() <= _MAX_GROWTH


def _end(folder: Path, options: argparse.Namespace) -> bool:
    report = ends_under_load(folder, options.clients // 2, options.clients // 2, options.stops)
    print(f"end: {options.stops} stops, {dict(report.statuses)}, {report.in_flight} in flight at SIGTERM, "
          f"{len(report.lost)} lost {report.lost[:3] or ''}, {dict(report.ends)}, "
          f"median {statistics.median(report.seconds):.1f} s, longest {max(report.seconds):.1f} s")  # fmt: skip
    return not report.lost and report.in_flight > 0 and set(report.ends) == {"stopped well"}


_CHECKS: dict[str, Callable[[Path, argparse.Namespace], bool]] = {
    "push": _pushes,
    "roll-back": _roll_backs,
    "hostile": _hostile,
    "end": _end,
}


def main() -> None:
    """Command line entry point."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.rigs.soak", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    names = ", ".join(_CHECKS)
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"any of {names}; all if left out")
    parser.add_argument("--clients", type=int, default=8, help="clients at a time")
    parser.add_argument("--requests", type=int, default=10_000, help="requests while versions are pushed")
    parser.add_argument("--versions", type=int, default=5, help="versions pushed")
    parser.add_argument("--roll-backs", type=int, default=20, help="times the version before is served again")
    parser.add_argument("--stops", type=int, default=200, help="servers stopped under load")
    parser.add_argument("--hostile", type=int, default=20_000, help="hostile requests")
    options = parser.parse_args()
    if unknown := set(options.checks) - set(_CHECKS):
        parser.error(f"expected checks among {names}, got {', '.join(sorted(unknown))}")
    failed = []
    for name in options.checks or _CHECKS:
        with tempfile.TemporaryDirectory() as folder:
            if not _CHECKS[name](Path(folder), options):
                failed.append(name)
    if failed:
        sys.exit(f"tests.rigs.soak: failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
