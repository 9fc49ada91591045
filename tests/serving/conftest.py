"""The small model of `tests.serving.models`, written once a test run."""

from pathlib import Path

import pytest

from tests.serving.models import write_version


@pytest.fixture(scope="session")
def half_plus(made_once) -> Path:
    """A folder with versions 1 and 2, not to be written to."""

    def fill(directory: Path) -> None:
        for version in (1, 2):
            write_version(directory, version)

    return made_once("half-plus", fill)
