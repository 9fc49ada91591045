"""Small things that several test files need and that take seconds to make: made once a test run, also under xdist.

TensorFlow is imported where it is used: the process that starts the workers does without it.
"""

import contextlib
import dataclasses
import fcntl
import gc
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from models.config import LocalizerConfig
from models.covariance_estimator.config import BackboneConfig, GridConfig, RefinementConfig
from models.lean_start import start_lean
from models.multipath.config import MultipathConfig
from models.physics.geometry import Scenario
from pipeline.common.main import ERROR
from pipeline.common.stages import entry_point, module

if TYPE_CHECKING:
    from models.localizer import Localizer

start_lean()

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
_COLLECTED = pytest.StashKey[list[pytest.Item]]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keeps the tests of both tiers, before one is selected."""
    config.stash[_COLLECTED] = list(items)


@pytest.fixture
def collected(pytestconfig: pytest.Config) -> list[pytest.Item]:
    """All tests that were collected, of both tiers."""
    return pytestconfig.stash[_COLLECTED]


def pytest_collection_finish() -> None:
    """The garbage collector leaves alone what imports made: a fifth of the time of tracing graphs."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this test run, the same for all workers."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def made_once(run_folder: Path) -> Callable[[str, Callable[[Path], object]], Path]:
    """A folder by name, filled by the first worker that asks for it while the others wait."""

    def made(name: str, fill: Callable[[Path], object]) -> Path:
        directory = run_folder / name
        with open(run_folder / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not directory.exists():
                fill(run_folder / f"{name}-unfinished")
                os.rename(run_folder / f"{name}-unfinished", directory)
        return directory

    return made


@pytest.fixture(scope="session")
def tiny_localizer() -> "Localizer":
    """The untrained localizer on coarse grids, blind for reflections: good enough for loud sources that lie apart."""
    from models.covariance_estimator.backbone import Backbone
    from models.localizer import Localizer

    config = LocalizerConfig(spectrum_grid=GridConfig(22, 13, 10), multipath=MultipathConfig(rounds=0))
    return Localizer(Backbone(Scenario(), TINY), config)


@pytest.fixture(scope="session")
def tiny_model(made_once, tiny_localizer: "Localizer") -> Path:
    """`tiny_localizer` exported: a folder with one version, not to be written to; without warm-up, so soon up."""
    from pipeline.export.exporting import export_localizer

    def export(directory: Path) -> None:
        export_localizer(tiny_localizer, directory / MODEL_NAME, warmup_batch_sizes=())

    return made_once("tiny-model", export) / MODEL_NAME


@dataclasses.dataclass(frozen=True)
class Served:
    """A running model server. Its calls have a long time limit."""

    target: str
    rest_port: int


@pytest.fixture(scope="session")
def tiny_server(tiny_model: Path, run_folder: Path, made_once) -> Iterator[Served]:
    """A server of `tiny_model`, over gRPC and REST, in a process of its own, which all workers share."""
    from serving.server_process import PATIENCE_S, server_process

    with open(run_folder / "tiny-server.users", "w") as users, contextlib.ExitStack() as running:

        def start(directory: Path) -> None:
            model = (f"--model_name={MODEL_NAME}", f"--model_base_path={tiny_model}")
            rest = ("--rest_api_port=-1", f"--rest_api_timeout_in_ms={PATIENCE_S * 1e3:.0f}")
            server = running.enter_context(server_process(*model, *rest, killed_with_parent=True))
            directory.mkdir()
            (directory / "ports").write_text(f"{server.target} {server.rest_port}")
            # The worker that started it ends after all that use it.
            running.callback(fcntl.flock, users, fcntl.LOCK_EX)

        fcntl.flock(users, fcntl.LOCK_SH)
        target, rest_port = (made_once("tiny-server", start) / "ports").read_text().split()
        yield Served(target, int(rest_port))


@pytest.fixture(scope="session")
def tiny_scenes(made_once) -> Path:
    """A data folder with the sets `SCENE_SETS`."""
    from pipeline.data.building import build_scenes
    from pipeline.data.options import DataOptions

    def build(directory: Path) -> None:
        for name in SCENE_SETS:
            build_scenes(DataOptions(name, data_dir=directory))

    return made_once("tiny-scenes", build)


@pytest.fixture(scope="module", autouse=True)
def unoptimized(request: pytest.FixtureRequest) -> Iterator[None]:
    """Graphs are called as they were traced: optimization is half of a first call, which few calls here make up for.
    Servers and what runs as a process have it; answers of those are compared with answers here."""
    import tensorflow as tf

    disabled = "serving" not in request.path.parts
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": disabled})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


@pytest.fixture(scope="module")
def eagerly() -> Iterator[None]:
    """All of a file without graphs, whose tracing takes most of the time where they are called once or twice."""
    import tensorflow as tf

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
