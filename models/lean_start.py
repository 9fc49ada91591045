"""Less time to start: Keras is imported without what nothing here uses of it, and garbage collected less often.

Keras imports scikit-learn, Matplotlib, pandas and Pillow; and Python looks through the million objects of TensorFlow's
modules again and again while they are made, a fifth of the time to import them.
"""

import gc
import importlib.abc
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

_OBJECTS_BETWEEN_COLLECTIONS = 10_000  # Python: 700
_UNUSED = ("sklearn", "matplotlib", "pandas", "PIL")
_KERAS = ("keras", "keras.src", "keras._tf_keras.keras")


class _NotForKeras(importlib.abc.MetaPathFinder):
    """Says while Keras is being imported that they are not installed, which Keras is prepared for."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in _UNUSED and any(map(_is_being_imported, _KERAS)):
            raise ModuleNotFoundError(f"{fullname} is not imported for Keras", name=fullname)
        return None


def _is_being_imported(name: str) -> bool:
    return bool(getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False))


def start_lean() -> None:
    """Before anything heavy is imported: from now on Keras, and so TensorFlow, comes without them; others get them."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    if not any(isinstance(finder, _NotForKeras) for finder in sys.meta_path):
        sys.meta_path.insert(0, _NotForKeras())
