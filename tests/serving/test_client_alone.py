"""The client where there is no TensorFlow: an environment with the packages it names and nothing else."""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Served
from tests.serving.servers import PATIENCE_S
from tests.simulated import batch_of, inputs_of, loud

ROOT = Path(__file__).parents[2]
PACKAGES = ("grpcio", "numpy", "protobuf", "tqdm", "typing-extensions")  # the last is grpcio's
LOCALIZE = """
import json, sys
from serving.client import LocalizerClient, MeasurementFile
from pathlib import Path

target, measurement, patience_s = sys.argv[1:]
with LocalizerClient(target, timeout_s=float(patience_s)) as client:
    assert client.ready(float(patience_s))
    print(json.dumps(client.localize(MeasurementFile(Path(measurement)))))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages that holds `PACKAGES` alone."""
    folder = tmp_path_factory.mktemp("site")
    for package in PACKAGES:
        distribution = importlib.metadata.distribution(package)
        for file in distribution.files or ():
            if ".." in file.parts:  # scripts and the like
                continue
            # `google` is shared by many packages, of which protobuf alone is wanted.
            part = Path(*file.parts[: 2 if file.parts[0] == "google" else 1])
            (folder / part).parent.mkdir(exist_ok=True)
            if not (folder / part).exists():
                (folder / part).symlink_to(Path(str(distribution.locate_file(str(part)))))
    return folder


def alone(site: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Python with the standard library, `site` and this repository."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PYTHONPATH"] = f"{site}{os.pathsep}{ROOT}"
    return subprocess.run([sys.executable, "-S", *command], env=environment, capture_output=True, text=True)


def test_there_is_no_tensorflow_there(site: Path) -> None:
    for package in ("tensorflow", "tensorflow_serving", "keras", "tyro"):
        assert f"No module named '{package}'" in alone(site, "-c", f"import {package}").stderr


def test_the_client_works_there(site: Path, tiny_server: Served, tmp_path: Path) -> None:
    measurement, output = tmp_path / "measurement.npz", tmp_path / "sources.json"
    scenes = batch_of(3, loud(2))
    np.savez(measurement, **inputs_of(scenes))
    files = ("--input", str(measurement), "--output", str(output), "--timeout_s", str(PATIENCE_S))
    by_command = alone(site, "-m", "serving.client", "--target", tiny_server.target, *files)
    by_import = alone(site, "-c", LOCALIZE, tiny_server.target, str(measurement), str(PATIENCE_S))
    assert by_command.returncode == 0, by_command.stderr
    assert by_import.returncode == 0, by_import.stderr
    found = json.loads(output.read_text())
    assert [scene["num_sources"] for scene in found] == scenes["num_sources"].tolist()
    assert json.loads(by_import.stdout) == found


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("serving", ("grpc", "numpy")),
        ("serving.client.files", ("grpc", "numpy")),
        ("serving.client.command", ("tensorflow", "keras", "scipy")),
    ],
)
def test_imports_bring_no_more_than_they_need(module: str, absent: tuple[str, ...]) -> None:
    """In this environment, where everything is there to be imported."""
    code = f"import sys, {module}; print([name for name in {absent} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_every_name_that_the_package_offers_is_there() -> None:
    import serving.client

    assert sorted(serving.client.__all__) == serving.client.__all__
    for name in serving.client.__all__:
        assert getattr(serving.client, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'sources_of'"):
        _ = serving.client.sources_of
