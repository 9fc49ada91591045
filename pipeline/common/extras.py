"""Packages that come with an extra of ris-mvdr."""

import importlib


def require(package: str, extra: str, name: str) -> None:
    """Imports a package.

    Args:
      package: its name.
      extra: of `pip install 'ris-mvdr[EXTRA]'`, which brings it.
      name: of the stage or file that needs it, in the message.

    Raises:
      ValueError: it is not installed.
    """
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ValueError(
            f"{name}: expected the package {package}, found none; pip install 'ris-mvdr[{extra}]'"
        ) from None
