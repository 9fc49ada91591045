"""Faster start: imports Keras without optional packages, and collects garbage less often.

Keras imports scikit-learn, Matplotlib, pandas and Pillow if they are installed; nothing here uses them through Keras.
During the import of TensorFlow, Python's garbage collector repeatedly scans a million objects, which takes a fifth of
the time.
"""

import gc
import importlib.abc
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

_OBJECTS_BETWEEN_COLLECTIONS = 10_000  # Python's default is 700
_UNUSED = ("sklearn", "matplotlib", "pandas", "PIL")
_KERAS = ("keras", "keras.src", "keras._tf_keras.keras")


class _NotForKeras(importlib.abc.MetaPathFinder):
    """Import hook: the unused packages seem not to be installed while Keras is being imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in _UNUSED and any(map(_is_being_imported, _KERAS)):
            raise ModuleNotFoundError(f"{fullname} is not imported for Keras", name=fullname)
        return None


def _is_being_imported(name: str) -> bool:
    return bool(getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False))


def start_lean() -> None:
    """Installs the import hook and raises the garbage collection threshold.

    Call before Keras or TensorFlow is imported. All other imports of these packages still work.
    """
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    if not any(isinstance(finder, _NotForKeras) for finder in sys.meta_path):
        sys.meta_path.insert(0, _NotForKeras())
