"""One line changes between a laptop and a server: the same arguments, the same scenes, to 1e-5."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import ris_mvdr
from models.physics.installation import load_installation
from pipeline.common.records import plain
from serving.server_process import server_process
from tests.forked import Forked
from tests.serving.servers import PATIENCE_S
from tests.test_python_api import INPUTS, LAB, arrays_of, assert_same

SCENES = 6
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def simulated() -> ris_mvdr.Simulation:
    return ris_mvdr.simulate("l64_m64", scenes=SCENES, installation=LAB)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the pretrained weights for the tutorial's installation, as the commands make it."""
    base = tmp_path_factory.mktemp("served") / "ris_localizer"
    options = ["--installation", str(LAB), "--effort", "fast", "--warmup-batch-sizes"]
    export = Forked("pipeline.export", "--model-base-path", str(base), "--log-dir", str(base.parent / "logs"), *options)
    stderr = export.communicate()[1]
    assert export.returncode == 0, stderr
    with server_process("--model_name=ris_localizer", f"--model_base_path={base}") as server:
        yield server.target


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phases of the elements, for the surface of the server."""
    path = tmp_path_factory.mktemp("calibration") / "calibration.npz"
    array = load_installation(LAB).array
    phases = np.random.default_rng(0).uniform(0.0, 6.0, array.num_elements)
    surface = plain(array)
    about = {"surface": surface, "surface_fingerprint": fingerprint_of(surface)}
    np.savez(path, element_response=np.exp(1j * phases).astype(np.complex64), about=np.array(json.dumps(about)))
    return path


def fingerprint_of(surface: dict) -> str:
    import hashlib

    return hashlib.sha256(json.dumps(surface, sort_keys=True).encode()).hexdigest()


@pytest.mark.extended
def test_a_server_and_a_localizer_here_say_the_same(
    target: str, simulated: ris_mvdr.Simulation, tmp_path: Path
) -> None:
    localizer = ris_mvdr.load_localizer(LAB, effort="fast")
    path = tmp_path / "measurement.npz"
    simulated.save(path)
    with ris_mvdr.LocalizerClient(target, timeout_s=PATIENCE_S) as client:
        for given in ((path,), (simulated,), tuple(arrays_of(simulated).values())):
            here, there = localizer.locate(*given), client.locate(*given)
            assert_same(here, there, TOLERANCE)
            assert {type(scene) for scene in (*here, *there)} == {ris_mvdr.Scene}
            assert {type(source) for scene in here for source in scene.sources} == {ris_mvdr.Source}
    assert sum(scene.num_sources for scene in here) >= SCENES


@pytest.mark.extended
def test_both_apply_a_calibration(target: str, simulated: ris_mvdr.Simulation, calibration: Path) -> None:
    """Codes without the elements' phases, and these in a file: as if the codes had them."""
    localizer = ris_mvdr.load_localizer(LAB, effort="fast", calibration=calibration)
    with np.load(calibration) as file:
        nominal = {**arrays_of(simulated), "ris_codes": simulated.ris_codes / file["element_response"]}
    here = localizer.locate(**nominal)
    with ris_mvdr.LocalizerClient(target, timeout_s=PATIENCE_S, calibration=calibration) as client:
        assert_same(here, client.locate(**nominal), TOLERANCE)
    with ris_mvdr.LocalizerClient(target, timeout_s=PATIENCE_S) as client:
        assert_same(here, client.locate(simulated), 1e-2)
    assert set(nominal) == set(INPUTS)
