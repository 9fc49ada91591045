"""A run compiled to a Kubeflow pipeline has the steps and commands of `ris-mvdr run`."""

import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.common.main import parse
from pipeline.common.stages import module
from pipeline.kubeflow import __main__ as kubeflow
from pipeline.kubeflow.compiling import step_command
from pipeline.run.run_file import read_run_file
from pipeline.run.steps import Step, steps
from pipeline.scenes.reading import open_scenes

ROOT = Path(__file__).resolve().parents[2]
MOUNT, IMAGE, CLAIM = "/volume", "registry.example/ris-mvdr:1", "scenes"
RUN = """
[data]
config = "l64_m64_4_2_2"
[train]
epochs = 2
backbone.stages = 1
[learnability]
scenes = 2
[evaluate]
scenes = 1
"""


@pytest.fixture(scope="module")
def run_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which the verdict of learnability stops nothing."""
    path = tmp_path_factory.mktemp("kubeflow") / "small_run.toml"
    path.write_text(RUN)
    return path


@pytest.fixture(scope="module")
def found(run_file: Path) -> list[Step]:
    return steps(read_run_file(run_file))


@pytest.mark.stage("kubeflow")
def test_commands_are_read_back_as_the_options_of_the_steps(found: list[Step]) -> None:
    for step in found:
        *_, folder = step_command(step, MOUNT)[:4]
        assert folder == MOUNT
        assert parse(step.name, type(step.options), step_command(step, MOUNT)[4:]) == step.options


def test_a_verdict_stops_what_it_stops_in_a_run(found: list[Step]) -> None:
    scripts = {step.name: step_command(step, MOUNT)[2] for step in found}
    assert [name for name, script in scripts.items() if script.endswith(" || [ $? -eq 1 ]")] == ["learnability"]
    for name, script in scripts.items():
        assert script.startswith(f'cd "$0" || exit 2; python -m {module(name)} "$@"')


def test_paths_lie_in_the_volume(found: list[Step]) -> None:
    moved = dataclasses.replace(found[0].options, data_dir=Path("/elsewhere/data"))
    step = dataclasses.replace(found[0], options=moved)
    with pytest.raises(ValueError, match="data: expected paths in the volume, relative or below /volume, got /e"):
        step_command(step, MOUNT)
    assert "/elsewhere/data" in step_command(step, "/elsewhere/")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--gpus", "-1"], "--gpus: expected 0 or more, got -1"),
        (["--retries", "-1"], "--retries: expected 0 or more, got -1"),
        (["--mount-path", "here"], "--mount-path: expected an absolute path, got here"),
    ],
)
def test_bad_options(run_file: Path, refused, options: list[str], message: str) -> None:
    assert message in refused("kubeflow", run_file, "--image", IMAGE, *options)


def test_without_kfp_it_says_so(run_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused) -> None:
    monkeypatch.setitem(sys.modules, "kfp", None)
    line = refused("kubeflow", run_file, "--image", IMAGE, "--output", tmp_path / "pipeline.yaml")
    assert line == "kfp: expected the package kfp, found none; pip install 'ris-mvdr[kubeflow]'"


# With kfp


def needs_kfp() -> None:
    pytest.importorskip("kfp", reason="no kfp here: pip install 'ris-mvdr[kubeflow]'")


@pytest.fixture(scope="module")
def compiled(run_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """The compiled pipeline, and its Kubernetes-specific part."""
    needs_kfp()
    output = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    line = [run_file, "--image", IMAGE, "--output", output, "--volume-claim", CLAIM, "--mount-path", MOUNT]
    resources = ["--cpu", "2", "--memory", "4Gi", "--gpus", "1", "--retries", "3"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["kubeflow", *map(str, [*line, *resources])])
        kubeflow.main()
    pipeline, platform = yaml.safe_load_all(output.read_text())
    return pipeline, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def test_the_pipeline_is_the_steps_one_after_the_other(compiled, found: list[Step]) -> None:
    pipeline, _ = compiled
    assert pipeline["pipelineInfo"]["name"] == "ris-mvdr-small-run"
    executors, tasks = pipeline["deploymentSpec"]["executors"], pipeline["root"]["dag"]["tasks"]
    names = [step.name.replace("_", "-") for step in found]
    assert tasks.keys() == set(names)
    for before, name, step in zip([None, *names], names, found, strict=False):
        task, container = tasks[name], executors[f"exec-{name}"]["container"]
        assert task.get("dependentTasks", []) == ([] if before is None else [before])
        assert not task["cachingOptions"].get("enableCache")
        assert task["retryPolicy"]["maxRetryCount"] == 3
        assert container["image"] == IMAGE
        assert container["command"] == step_command(step, MOUNT)


def test_every_step_has_the_volume_and_what_it_asks_for(compiled, found: list[Step]) -> None:
    pipeline, kubernetes = compiled
    for step in found:
        executor = f"exec-{step.name.replace('_', '-')}"
        (volume,) = kubernetes[executor]["pvcMount"]
        assert (volume["constant"], volume["mountPath"]) == (CLAIM, MOUNT)
        resources = pipeline["deploymentSpec"]["executors"][executor]["container"]["resources"]
        assert (resources["resourceCpuRequest"], resources["resourceMemoryRequest"]) == ("2", "4Gi")
        asked = resources.get("accelerator")
        assert (asked is not None and asked["resourceType"] == "nvidia.com/gpu") == (step.name == "train")


@pytest.mark.extended
def test_kfp_runs_a_step(found: list[Step], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The local runner of kfp takes only Python functions, so a function calls the command of the step `data`."""
    needs_kfp()
    from kfp import dsl, local

    @dsl.component(base_image="python", install_kfp_package=False)
    def called(command: list) -> int:
        import subprocess

        return subprocess.run(command, check=True).returncode

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "kfp"))
    assert called(command=step_command(found[0], str(tmp_path))).output == 0
    stored = open_scenes(tmp_path / found[0].options.data_dir, "l64_m64_4_2_2")
    assert stored.scene_set.num_scenes == 8
