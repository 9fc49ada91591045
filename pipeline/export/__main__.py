"""Command line of `ris-mvdr export`."""

import logging

from pipeline.common.hyperparameters import tuned
from pipeline.common.main import command
from pipeline.export.options import ExportOptions


@command("export", ExportOptions, lambda options: options.log_dir, tuned)
def main(options: ExportOptions, logger: logging.Logger) -> None:
    """Writes a version, unless one that these options wrote already exists."""
    from pipeline.export.exporting import export, exported

    known = exported(options)
    logger.info(f"exported {export(options)}" if known is None else f"nothing has changed, keeping {known}")


if __name__ == "__main__":
    main()
