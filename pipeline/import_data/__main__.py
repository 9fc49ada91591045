"""Command line of `ris-mvdr import_data`."""

import logging

from pipeline.common.main import command
from pipeline.import_data.options import ImportDataOptions


@command("import_data", ImportDataOptions, lambda options: options.log_dir)
def main(options: ImportDataOptions, logger: logging.Logger) -> None:
    """Imports the data that the map names."""
    from pipeline.import_data.running import run_import

    run_import(options, logger)


if __name__ == "__main__":
    main()
