"""Runs a stage as a command: parses options, opens a log file, prints errors as one line and sets the exit status."""

import contextlib
import dataclasses
import io
import itertools
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import tyro

from models.lean_start import start_lean
from models.shipped import or_shipped
from pipeline.common.log import logging_to, quiet_libraries
from pipeline.common.stages import RENAMED, module

FAIL, ERROR, INTERRUPTED = 1, 2, 130
"""Exit statuses other than 0: the stage ran and its verdict is FAIL; the stage failed; it was interrupted by Ctrl-C."""

Options = TypeVar("Options")
Work = Callable[[Options, logging.Logger], int | None]
_OWN = ("__main__", "models", "tfds_shards", "pipeline", "serving")  # their errors are written for users
_FRAME = re.compile("[╭╮╰╯│]")


def run_stage(
    stage: str,
    options_type: type[Options],
    work: Work[Options],
    log_dir: Callable[[Options], Path],
    defaults: Callable[[Options], Options | None] = lambda options: None,
) -> None:
    """Runs a stage as a command. Returns if the stage succeeds, otherwise exits with status FAIL, ERROR or INTERRUPTED.

    An error is printed to stderr as one line that starts with the module's name. Its traceback, and everything that
    libraries write to stderr, goes to the log file.

    Args:
      stage: name of the stage, as in `ris-mvdr STAGE`.
      options_type: dataclass of the options. Its module must not import heavy packages, so that --help is fast.
      work: runs the stage with its options and logger. It imports heavy packages itself. Returns FAIL or None.
      log_dir: gives the folder of the log file.
      defaults: gives other default values, computed from the parsed options. The command line overrides them.
    """
    start_lean()
    log: Path | None = None
    try:
        options = parse(stage, options_type, sys.argv[1:])
        if (instead := defaults(options)) is not None:
            options = parse(stage, options_type, sys.argv[1:], instead)
        with logging_to(log_dir(options), stage) as (logger, log), quiet_libraries(log):
            logger.info(f"log: {log}")
            status = work(options, logger)
    except KeyboardInterrupt:
        _stop(f"{module(stage)}: interrupted", INTERRUPTED)
    except Exception as error:
        _stop(f"{module(stage)}: {_line(error, log)}", ERROR)
    if status:
        sys.exit(status)


class Command(Generic[Options]):
    """The `main` of a stage. work: function of the options and a logger that runs it, see `run_stage`."""

    def __init__(self, work: Work[Options], *how: Any) -> None:
        self.work, self._how = work, how

    def __call__(self) -> None:
        """Command line entry point."""
        stage, options_type, log_dir, defaults = self._how
        run_stage(stage, options_type, self.work, log_dir, defaults)


def command(
    stage: str,
    options_type: type[Options],
    log_dir: Callable[[Options], Path],
    defaults: Callable[[Options], Options | None] = lambda options: None,
) -> Callable[[Work[Options]], Command[Options]]:
    """Decorator that turns the work of a stage into its `main`. Arguments are those of `run_stage`."""
    return lambda work: Command(work, stage, options_type, log_dir, defaults)


def program(stage: str) -> str:
    """The command as the user typed it: `ris-mvdr STAGE` or `python -m MODULE`."""
    return sys.argv[0] if sys.argv[0] == f"ris-mvdr {stage}" else f"python -m {module(stage)}"


def parse(stage: str, options_type: type[Options], arguments: Sequence[str], default: Options | None = None) -> Options:
    """Parses command-line arguments; ValueError with a one-line message if an option is wrong.

    `default` is an instance whose values replace the default values.
    """
    given: dict[str, Any] = {} if default is None else {"default": default}
    if {"--help", "-h"} & set(arguments):
        return tyro.cli(options_type, prog=program(stage), args=arguments, **given)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed), _wide():
            options = tyro.cli(options_type, prog=program(stage), args=arguments, **given)
    except SystemExit:
        raise ValueError(f"{_first_part(printed.getvalue())}; {program(stage)} --help explains the options") from None
    return _with_shipped_files(options)


def _with_shipped_files(options: Options) -> Options:
    """Options whose paths name files of the package if no other file has that name."""
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(options):  # type: ignore[arg-type]
        value = getattr(options, field.name)
        if isinstance(value, Path):
            changes[field.name] = or_shipped(value)
        elif isinstance(value, tuple) and any(isinstance(item, Path) for item in value):
            changes[field.name] = tuple(map(or_shipped, value))
    return dataclasses.replace(options, **changes)  # type: ignore[type-var]


@contextlib.contextmanager
def _wide() -> Iterator[None]:
    """Keeps tyro from wrapping its messages at the width of the terminal."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "10000"
    try:
        yield
    finally:
        del os.environ["COLUMNS"]
        if before is not None:
            os.environ["COLUMNS"] = before


def _first_part(box: str) -> str:
    """The first section of a tyro error message, below its title, as one line without the frame."""
    lines = [_FRAME.sub("", line).strip() for line in box.splitlines()[1:]]
    parts = [
        list(part) for is_rule, part in itertools.groupby(lines, lambda line: set(line) <= {"─", "-"}) if not is_rule
    ]
    text = " ".join(" ".join(parts[0]).split()) if parts else "options: cannot be parsed"
    return re.sub(r"^Error parsing (?!--)[\w.-]+: |^Error parsing ", "", text)


def _line(error: Exception, log: Path | None) -> str:
    """An error message as one line. Errors not meant for users include their type and the path of the log."""
    text = str(error).strip().partition("\n")[0]
    if isinstance(error, (ValueError, OSError)) or type(error).__module__.partition(".")[0] in _OWN:
        return text
    return f"{type(error).__name__}: {text}" + (f" (traceback in {log})" if log is not None else "")


def _stop(line: str, status: int) -> None:
    print(line, file=sys.stderr, flush=True)
    sys.exit(status)


def exit_renamed(stage: str) -> None:
    """Exits with a message that gives the new name of a stage that was renamed after version 0.1."""
    new = RENAMED[stage]
    _stop(f"{stage}: this stage is now called {new}; run: ris-mvdr {new}", ERROR)
