"""Content hashes of files, folders, Keras models and the project's code."""

import ast
import functools
import hashlib
import importlib.metadata
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_ROOMS = ("models", "tfds_shards", "pipeline", "serving")
_LIBRARIES = ("numpy", "tensorflow", "keras")
_IGNORED_KEYS = ("name", "build_config", "compile_config")  # of a .keras configuration: they do not change the model


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_digest(value: Any) -> str:
    """SHA-256 of a JSON value; it does not depend on the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()


def content_digest(path: Path) -> str:
    """SHA-256 of the content of a file or folder.

    A .keras file is hashed by its configuration and weights, a folder by the names and bytes of all its files, any
    other file by its bytes.
    """
    if path.is_dir():
        files = sorted(item for item in path.rglob("*") if item.is_file())
        return json_digest({str(item.relative_to(path)): file_digest(item) for item in files})
    if not path.is_file():
        raise ValueError(f"expected a file or folder at {path}, got nothing")
    return keras_digest(path) if path.suffix == ".keras" else file_digest(path)


def keras_digest(path: Path) -> str:
    """SHA-256 of the configuration and weights of a .keras file, without the date and the names that Keras numbers."""
    import h5py

    try:
        with zipfile.ZipFile(path) as archive:
            config = _without_names(json.loads(archive.read("config.json")))
            stored = h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r")
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"expected a .keras file at {path}, got a damaged or different file: {error}") from None
    found = hashlib.sha256(json_digest(config).encode())

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            value = item[()]
            found.update(f"{name} {value.dtype} {value.shape} ".encode() + value.tobytes())

    with stored:
        stored.visititems(add)
    return found.hexdigest()


def _without_names(config: Any) -> Any:
    if isinstance(config, dict):
        return {key: _without_names(value) for key, value in config.items() if key not in _IGNORED_KEYS}
    return [_without_names(item) for item in config] if isinstance(config, list) else config


def code_version(module: str) -> dict[str, str]:
    """Version of the code of a stage: `code`, a hash of its modules, and the versions of the numerical libraries."""
    return {"code": code_digest(module), **{name: importlib.metadata.version(name) for name in _LIBRARIES}}


def code_digest(module: str) -> str:
    """Hash of a module and of all project modules that it imports, directly or not, without comments and docstrings."""
    waiting, seen = [module], dict[str, str]()
    while waiting:
        name = waiting.pop()
        path = _source(name)
        if name in seen or path is None:
            continue
        seen[name], imported = _parsed(path, name)
        waiting += imported
    return json_digest(seen)


def _source(module: str) -> Path | None:
    """File of a project module; None for other modules."""
    if module.partition(".")[0] not in _ROOMS:
        return None
    base = ROOT.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


@functools.cache
def _parsed(path: Path, module: str) -> tuple[str, tuple[str, ...]]:
    """Hash of a module's statements, and the names of the modules it imports, parent packages included."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = tuple(_imports(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [item for item in node.body if not _is_docstring(item)] or [ast.Pass()]
        elif isinstance(node, ast.JoinedStr):  # Python 3.12 ends a nested format with an empty part
            node.values = [part for part in node.values if not (isinstance(part, ast.Constant) and part.value == "")]
    return json_digest(_plain(tree)), imported


def _plain(value: Any) -> Any:
    """A syntax tree as JSON, fields that are empty left out: the same in every version of Python, unlike `ast.dump`."""
    if isinstance(value, ast.AST):
        fields = {name: _plain(item) for name, item in ast.iter_fields(value) if item is not None and item != []}
        return {"node": type(value).__name__, **fields}
    return [_plain(item) for item in value] if isinstance(value, list) else repr(value)


def _is_docstring(statement: ast.stmt) -> bool:
    """Whether a statement is the docstring of a module, class, function or field."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
            parts = node.module.split(".")
            yield from (".".join(parts[: count + 1]) for count in range(len(parts)))
