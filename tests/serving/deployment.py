"""The files under serving/deploy as data, and the command of the Compose file with local paths."""

from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "serving" / "deploy"


def load_yaml(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


def compose_service() -> dict[str, Any]:
    return load_yaml("compose.yaml")["services"]["serving"]


def command_here(config: Path, model_base_path: Path, rest_port: int) -> list[str]:
    """Returns the flags of the Compose file with local paths for /config and /models, and free ports."""
    config.mkdir()
    for path in (DEPLOY / "config").iterdir():
        text = path.read_text().replace("/models/", f"{model_base_path.parent}/")
        (config / path.name).write_text(text)
    places = {"/config/": f"{config}/", "--port=8500": "--port=0", "=8501": f"={rest_port}"}
    flags = compose_service()["command"]
    for place, here in places.items():
        flags = [flag.replace(place, here) for flag in flags]
    return flags
