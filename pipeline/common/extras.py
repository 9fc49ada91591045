"""Packages that belong to an extra of ris-mvdr."""

import importlib


def require(package: str, extra: str, name: str) -> None:
    """Imports a package.

    Args:
      package: name of the package.
      extra: extra that installs it: `pip install 'ris-mvdr[EXTRA]'`.
      name: stage or file that needs it, for the message.

    Raises:
      ValueError: the package is not installed.
    """
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ValueError(
            f"{name}: expected the package {package}, found none; pip install 'ris-mvdr[{extra}]'"
        ) from None
