"""`python -m pipeline.lineage`: data, configuration, code and parents of a version, and the way back."""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import tyro

from pipeline.common.artifacts import output_digest
from pipeline.release.lineage import describe, versions_made_from
from pipeline.release.pushing import read_labels, read_release, served_version, versions_in


@dataclasses.dataclass(frozen=True)
class LineageOptions:
    """Tells where a pushed version comes from; or, with --of, which versions come from something."""

    version: tyro.conf.Positional[str] = ""
    """A version by number or label; left out, the one that is served."""
    model_base_path: Path = Path("runs/serving/ris_localizer")
    """Folder of the versions."""
    of: str | None = None
    """A file or folder, or a hash or its first digits: lists the versions with that behind them."""


def lines(options: LineageOptions) -> Iterator[str]:
    """The answer.

    Raises:
      ValueError: no such version, or one that was not pushed by `python -m pipeline.push`.
    """
    if options.of is not None:
        digest = output_digest(Path(options.of)) if Path(options.of).exists() else options.of
        found = versions_made_from(options.model_base_path, digest)
        yield f"{digest[:12]} is behind {', '.join(map(str, found)) or 'no version'} of {options.model_base_path}"
        return
    known = {version.number: version for version in versions_in(options.model_base_path)}
    served = served_version(options.model_base_path)
    labels = read_labels(options.model_base_path)
    wanted = options.version or (str(served.number) if served is not None else "")
    number = labels.get(wanted, int(wanted) if wanted.isdecimal() else -1)
    if number not in known:
        there = ", ".join([*map(str, known), *labels]) or "none"
        raise ValueError(f"version: expected a version or label of {options.model_base_path} ({there}), got {wanted!r}")
    release = read_release(known[number].path)
    if release is None:
        raise ValueError(f"version: expected one that python -m pipeline.push wrote, got {known[number].path}")
    yield from describe(release)


def main() -> None:
    """Command line entry point."""
    try:
        for line in lines(tyro.cli(LineageOptions, prog="python -m pipeline.lineage")):
            print(line)
    except (ValueError, OSError) as error:
        sys.exit(f"pipeline.lineage: {str(error).strip().partition(chr(10))[0]}")


if __name__ == "__main__":
    main()
