"""Command line of `ris-mvdr import_data`."""

import logging

from pipeline.common.main import run_stage
from pipeline.import_data.options import ImportDataOptions


def work(options: ImportDataOptions, logger: logging.Logger) -> None:
    """Imports the data that the map names."""
    from pipeline.import_data.running import run_import

    run_import(options, logger)


def main() -> None:
    """Command line entry point."""
    run_stage("import_data", ImportDataOptions, work, lambda options: options.log_dir)


if __name__ == "__main__":
    main()
