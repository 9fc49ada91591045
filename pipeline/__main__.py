"""`ris-mvdr STAGE ...`, the same as running the stage's module with `python -m`; alone, it lists the stages."""

import importlib
import sys

from pipeline.common.main import ERROR, exit_renamed
from pipeline.common.stages import RENAMED, STAGES, entry_point


def main() -> None:
    """Command line entry point."""
    stage = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if stage in ("--help", "-h"):
        print("usage: ris-mvdr STAGE [options]; ris-mvdr STAGE --help explains them\n")
        for name, line in STAGES.items():
            print(f"  {name:16}{line}")
        return
    if stage in RENAMED:
        exit_renamed(stage)
    if stage not in STAGES:
        print(f"ris-mvdr: expected a stage, one of {', '.join(STAGES)}, got {stage!r}", file=sys.stderr)
        sys.exit(ERROR)
    sys.argv = [f"ris-mvdr {stage}", *sys.argv[2:]]
    importlib.import_module(entry_point(stage)).main()


if __name__ == "__main__":
    main()
