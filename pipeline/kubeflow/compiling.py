"""Compiles a run to a Kubeflow pipeline: the same steps, each in a container, on a shared volume."""

import logging
from collections.abc import Sequence
from typing import Any

from pipeline.common.command_line import arguments
from pipeline.common.extras import require
from pipeline.common.main import FAIL
from pipeline.common.records import replacing
from pipeline.common.stages import module
from pipeline.kubeflow.options import KubeflowOptions
from pipeline.run.run_file import read_run_file
from pipeline.run.steps import Step, steps

_TRAIN_NETWORKS = ("train", "refine")


def compile_run(options: KubeflowOptions, logger: logging.Logger) -> None:
    """Compiles a run file and writes options.output."""
    require("kfp", "kubeflow", "kfp")
    from kfp import compiler

    found = steps(read_run_file(options.config, options.run_dir, options.installation))
    with replacing(options.output) as temporary:
        compiler.Compiler().compile(_pipeline(found, options), str(temporary))
    logger.info(f"{len(found)} steps, {', '.join(step.name for step in found)}: {options.output}")


def step_command(step: Step, folder: str) -> list[str]:
    """The command of a stage. Its exit status is also 0 if the verdict is FAIL but does not stop the run. Paths are
    relative to `folder` of the volume; ValueError for a path outside."""
    given = arguments(step.options)
    for value in given:
        if value.startswith("/") and not value.startswith(f"{folder.rstrip('/')}/"):
            raise ValueError(f"{step.name}: expected paths in the volume, relative or below {folder}, got {value}")
    goes_on = f" || [ $? -eq {FAIL} ]" if step.verdict is not None and step.good is None else ""
    return ["sh", "-c", f'cd "$0" || exit 2; python -m {module(step.name)} "$@"{goes_on}', folder, *given]


def _pipeline(found: Sequence[Step], options: KubeflowOptions) -> Any:
    from kfp import dsl, kubernetes

    def component(step: Step) -> Any:
        command = step_command(step, options.mount_path)

        def container() -> dsl.ContainerSpec:
            return dsl.ContainerSpec(options.image, command)

        container.__name__ = step.name
        return dsl.container_component(container)

    components = [component(step) for step in found]

    @dsl.pipeline(name=f"ris-mvdr-{options.config.stem.replace('_', '-')}")
    def whole_run() -> None:
        before = None
        for step, make in zip(found, components, strict=True):
            task = make()
            kubernetes.mount_pvc(task, options.volume_claim, options.mount_path)
            task.set_caching_options(False)  # the stages do their own caching, by the manifests in the volume
            if options.retries:
                task.set_retry(options.retries)
            if options.cpu is not None:
                task.set_cpu_request(options.cpu)
            if options.memory is not None:
                task.set_memory_request(options.memory)
            if options.gpus and step.name in _TRAIN_NETWORKS:
                task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(options.gpus)
            if before is not None:
                task.after(before)
            before = task

    return whole_run
