"""Packages that belong to an extra of ris-mvdr."""

import importlib


def require(package: str, extra: str, name: str) -> None:
    """Imports a package of an extra; ValueError if it is not installed. `name` is the stage or file that needs it."""
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ValueError(
            f"{name}: expected the package {package}, found none; pip install 'ris-mvdr[{extra}]'"
        ) from None
