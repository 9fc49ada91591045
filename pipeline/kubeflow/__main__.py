"""Command line of `ris-mvdr kubeflow`."""

import logging

from pipeline.common.main import run_stage
from pipeline.kubeflow.options import KubeflowOptions


def work(options: KubeflowOptions, logger: logging.Logger) -> None:
    """Compiles the pipeline."""
    from pipeline.kubeflow.compiling import compile_run

    compile_run(options, logger)


def main() -> None:
    """Command line entry point."""
    run_stage("kubeflow", KubeflowOptions, work, lambda options: options.output.parent / "logs")


if __name__ == "__main__":
    main()
