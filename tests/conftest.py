"""Small things that several test files need and that take seconds to make: made once a test run, also under xdist."""

import fcntl
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tensorflow as tf

from models.config import LocalizerConfig
from models.covariance_estimator.backbone import Backbone
from models.covariance_estimator.config import BackboneConfig, GridConfig, RefinementConfig
from models.lean_start import start_lean
from models.localizer import Localizer
from models.multipath.config import MultipathConfig
from models.physics.geometry import Scenario
from pipeline.common.main import ERROR
from pipeline.common.stages import entry_point, module
from pipeline.data.building import build_scenes
from pipeline.data.options import DataOptions
from pipeline.export.exporting import export_localizer

start_lean()  # after all imports: for its collector, which graphs keep busy, too

MODEL_NAME = "ris_localizer"
SCENE_SETS = ("l64_m64_32_16_8", "l64_random_16_16_2")
TINY = BackboneConfig(
    stages=1,
    width=4,
    depth=2,
    active_atoms=16,
    grid=GridConfig(11, 7, 5),
    refinement=RefinementConfig(steps=4, additions=0),
)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """A folder by name, filled by the first worker that asks for it while the others wait."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def made(name: str, fill: Callable[[Path], object]) -> Path:
        directory = shared / name
        with open(shared / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not directory.exists():
                fill(shared / f"{name}-unfinished")
                os.rename(shared / f"{name}-unfinished", directory)
        return directory

    return made


@pytest.fixture(scope="session")
def tiny_localizer() -> Localizer:
    """The untrained localizer on coarse grids, blind for reflections: good enough for loud sources that lie apart."""
    config = LocalizerConfig(spectrum_grid=GridConfig(22, 13, 10), multipath=MultipathConfig(rounds=0))
    return Localizer(Backbone(Scenario(), TINY), config)


@pytest.fixture(scope="session")
def tiny_model(made_once, tiny_localizer: Localizer) -> Path:
    """`tiny_localizer` exported: a folder with one version, not to be written to; without warm-up, so soon up."""

    def export(directory: Path) -> None:
        export_localizer(tiny_localizer, directory / MODEL_NAME, warmup_batch_sizes=())

    return made_once("tiny-model", export) / MODEL_NAME


@pytest.fixture(scope="session")
def tiny_scenes(made_once) -> Path:
    """A data folder with the sets `SCENE_SETS`."""

    def build(directory: Path) -> None:
        for name in SCENE_SETS:
            build_scenes(DataOptions(name, data_dir=directory))

    return made_once("tiny-scenes", build)


@pytest.fixture(scope="module", autouse=True)
def unoptimized(request: pytest.FixtureRequest) -> Iterator[None]:
    """Graphs are called as they were traced: optimization is half of a first call, which few calls here make up for.
    Servers and what runs as a process have it; answers of those are compared with answers here."""
    disabled = "serving" not in request.path.parts
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": disabled})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


@pytest.fixture(scope="module")
def eagerly() -> Iterator[None]:
    """All of a file without graphs, whose tracing takes most of the time where they are called once or twice."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., str]:
    """A function of a stage and its arguments: runs it, in a folder of its own, to an error; the one line it says."""
    here = tmp_path_factory.mktemp("here")

    def stopped(stage: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [stage, *map(str, arguments)])
        monkeypatch.chdir(here)
        with pytest.raises(SystemExit) as stop:
            importlib.import_module(entry_point(stage)).main()
        assert stop.value.code == ERROR
        said = capsys.readouterr().err
        assert "Traceback" not in said
        line = said.splitlines()[-1]
        assert line.startswith(f"{module(stage)}: ")
        return line.removeprefix(f"{module(stage)}: ")

    return stopped
