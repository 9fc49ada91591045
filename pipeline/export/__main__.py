"""Command line of `ris-mvdr export`."""

import logging

from pipeline.common.hyperparameters import read_hyperparameters, replaced
from pipeline.common.main import run_stage
from pipeline.export.options import ExportOptions


def _tuned(options: ExportOptions) -> ExportOptions | None:
    """The defaults, overridden by --hyperparameters."""
    if options.hyperparameters is None:
        return None
    return replaced(options, read_hyperparameters(options.hyperparameters))


def work(options: ExportOptions, logger: logging.Logger) -> None:
    """Writes a version, unless one that these options wrote already exists."""
    from pipeline.export.exporting import export, exported

    known = exported(options)
    logger.info(f"exported {export(options)}" if known is None else f"nothing has changed, keeping {known}")


def main() -> None:
    """Command line entry point."""
    run_stage("export", ExportOptions, work, lambda options: options.log_dir, _tuned)


if __name__ == "__main__":
    main()
