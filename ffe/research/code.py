"""Which code made a record: the engine's version and source, the strategy's source, and what both ran on.

A strategy's hash is over its file and over what that imports from beside it, read and never run: what a record names is
compared before any of it is imported.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import platform
import sys
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import ffe
from ffe.strategy import Strategy

LIBRARIES = ("ccxt", "numba", "numpy", "pandas")
HASHED_AT_IMPORT = "__ffe_source_sha256__"  # of a module that was loaded from a file: what stands there later is not it


@cache
def code_version() -> str:
    """Version + the first twelve hex digits of a hash over every source file, in the order of their paths."""
    root, digest = Path(ffe.__file__).parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\n".encode() + path.read_bytes())
    return f"{ffe.__version__}+{digest.hexdigest()[:12]}"


@cache
def versions() -> dict[str, str]:
    """What a result depends on beside our own code; "" where it is not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in LIBRARIES}}


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


# ---------------------------------------------------------------- a strategy's source


def code_of(strategy: Strategy) -> str:
    """The hash of a strategy's source, as it was when it was loaded, or first asked for; of its class alone where that
    was typed into a notebook or a console."""
    return _hash_of(type(strategy))


@lru_cache(maxsize=1024)  # by the class: what is loaded anew is another one
def _hash_of(kind: type[Strategy]) -> str:
    module = sys.modules.get(kind.__module__)
    if module is not None and (known := vars(module).get(HASHED_AT_IMPORT)):
        return str(known)
    file = getattr(module, "__file__", None) if kind.__module__ != "__main__" else None
    if file is not None and file.endswith(".py"):
        return source_hash(Path(file))
    try:
        return hashlib.sha256(inspect.getsource(kind).encode()).hexdigest()
    except (OSError, TypeError):
        return hashlib.sha256(b"").hexdigest()


def source_hash(file: Path) -> str:
    """Of a file and of all that it imports from beside it: its own folder, its package, and the current folder."""
    digest = hashlib.sha256()
    for name, path in sorted(_sources(file).items()):
        digest.update(f"{name}\n{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _sources(file: Path) -> dict[str, Path]:
    """The files by the names under which they are imported; "" is the file itself."""
    top = _top_of(file)
    roots = list(dict.fromkeys([file.parent.resolve(), top, Path.cwd()]))
    found, todo = {"": file}, [(file, _package(file, top))]
    while todo:
        path, package = todo.pop()
        for name in _imported(path, package):
            place = _place(name, roots)
            if name not in found and place is not None and place != file.resolve():
                found[name] = place
                todo.append((place, name if place.name == "__init__.py" else name.rpartition(".")[0]))
    return found


def _top_of(file: Path) -> Path:
    """The folder from which a file's package is imported."""
    folder = file.parent.resolve()
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


def _package(file: Path, top: Path) -> str:
    return ".".join(file.parent.resolve().relative_to(top).parts)


def _imported(path: Path, package: str) -> Iterator[str]:
    """Every module that a file may import, and the packages that these stand in."""
    for name, level in _import_statements(path.read_bytes()):
        parts = name.split(".")
        if level:
            parts = [*package.split(".")[: len(package.split(".")) - level + 1], *parts]
        parts = [part for part in parts if part]
        if parts and parts[0] != "ffe":  # our own code is in its version
            yield from (".".join(parts[:n]) for n in range(1, len(parts) + 1))


@lru_cache(maxsize=1024)
def _import_statements(source: bytes) -> tuple[tuple[str, int], ...]:
    """What a source imports, each with how far up it is relative; one that cannot be parsed imports nothing, and fails
    once it is run."""
    try:
        nodes = [*ast.walk(ast.parse(source))]
    except (SyntaxError, ValueError, RecursionError):
        return ()
    found: list[tuple[str, int]] = []
    for node in nodes:
        match node:
            case ast.Import(names=names):
                found += [(alias.name, 0) for alias in names]
            case ast.ImportFrom(module=module, names=names, level=level):
                found += [(f"{module or ''}.{alias.name}", level) for alias in names]
    return tuple(found)


def _place(name: str, roots: list[Path]) -> Path | None:
    for root in roots:
        stem = root.joinpath(*name.split("."))
        for path in (stem.with_name(stem.name + ".py"), stem / "__init__.py"):
            if path.is_file():
                return path.resolve()
    return None
