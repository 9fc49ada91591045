"""Command line of `ris-mvdr kubeflow`."""

import logging

from pipeline.common.main import command
from pipeline.kubeflow.options import KubeflowOptions


@command("kubeflow", KubeflowOptions, lambda options: options.output.parent / "logs")
def main(options: KubeflowOptions, logger: logging.Logger) -> None:
    """Compiles the pipeline."""
    from pipeline.kubeflow.compiling import compile_run

    compile_run(options, logger)


if __name__ == "__main__":
    main()
