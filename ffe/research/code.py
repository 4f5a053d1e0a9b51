"""Which code made a record: the engine's version and source, the strategy's source, and what both ran on.

A strategy's hash is over its file and over what that imports, libraries aside, read and never run: what a record names
is compared before any of it is imported.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import linecache
import os
import platform
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from functools import cache, lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from pkgutil import iter_modules

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
    """The hash of a strategy's source, as it was when it was loaded, or first asked for. Of what was typed into a
    notebook it is that of the cells in which its functions stand; where there is no source at all, it is no other's."""
    return _hash_of(type(strategy))


@lru_cache(maxsize=1024)  # by the class: what is loaded anew is another one
def _hash_of(kind: type[Strategy]) -> str:
    module = sys.modules.get(kind.__module__)
    if module is not None and (known := vars(module).get(HASHED_AT_IMPORT)):
        return str(known)
    file = getattr(module, "__file__", None)
    if file is not None and file.endswith(".py") and Path(file).is_file():
        return source_hash(Path(file))
    cells = {function.__code__.co_filename for function in vars(kind).values() if inspect.isfunction(function)}
    text = "".join(line for cell in sorted(cells) for line in linecache.getlines(cell))
    return hashlib.sha256(text.encode() or os.urandom(32)).hexdigest()


def is_of_file(strategy: Strategy) -> bool:
    """Whether its code stands in a file, with all that it imports; what was typed into a notebook refers to whatever
    was made there."""
    file = getattr(sys.modules.get(type(strategy).__module__), "__file__", None)
    return type(strategy).__module__ != "__main__" and file is not None and file.endswith(".py")


def source_hash(file: Path) -> str:
    """Of a file and of all that it imports, libraries aside: where an import would find it, read and not run. What is
    imported by a name that is computed is not seen."""
    importlib.invalidate_caches()
    digest = hashlib.sha256()
    for name, path in sorted(_sources(file).items()):
        digest.update(f"{name}\n{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def file_of(module: str) -> Path | None:
    """Where an import would find a module. Packages around it are looked up and not imported."""
    spec = _spec_of(module)
    return Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None


def _search_path() -> list[str]:
    """Where a strategy's imports are looked for: in the folder that this runs in too, last of all."""
    with suppress(OSError):  # it is gone
        return [*sys.path, str(Path.cwd())]
    return sys.path


def _spec_of(module: str) -> ModuleSpec | None:
    spec: ModuleSpec | None = None
    for n, part in enumerate(module.split(".")):
        place = spec.submodule_search_locations if spec is not None else _search_path()
        if n and place is None:
            return None  # it stands in no package
        try:
            spec = PathFinder.find_spec(part, place)
        except (ImportError, ValueError):
            return None
        if spec is None:
            return None
    return spec


def _sources(file: Path) -> dict[str, Path]:
    """The files by the names under which they are imported; "" is the file itself."""
    top = _top_of(file)
    package = _package(file, top)
    own = package.split(".")[0]  # what was installed and is the strategy's own package is no library
    found, todo = {"": file}, [*_around(package)]
    todo += _imported(file, package, own)
    while todo:
        name = todo.pop()
        place = file_of(name)
        if name in found or place is None or place.resolve() == file.resolve() or _is_library(name, place, own):
            continue
        found[name] = place
        if place.suffix == ".py":
            todo += _imported(place, name if place.name == "__init__.py" else name.rpartition(".")[0], own)
    return found


@cache
def _libraries() -> tuple[Path, ...]:
    """Where Python's own modules and what was installed lie; their versions are named."""
    paths = sysconfig.get_paths()
    return tuple({Path(paths[name]).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def _is_library(name: str, place: Path, own: str) -> bool:
    if own and name.split(".")[0] == own:
        return False
    return any(place.resolve().is_relative_to(library) for library in _libraries())


def _top_of(file: Path) -> Path:
    """The folder from which a file's package is imported."""
    folder = file.parent.resolve()
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


def _package(file: Path, top: Path) -> str:
    return ".".join(file.parent.resolve().relative_to(top).parts)


def _around(name: str) -> Iterator[str]:
    """A module and the packages that it stands in."""
    parts = [part for part in name.split(".") if part]
    return (".".join(parts[:n]) for n in range(1, len(parts) + 1))


def _imported(path: Path, package: str, own: str) -> Iterator[str]:
    """Every module that a file may import, and the packages that these stand in."""
    for name, level in _import_statements(path.read_bytes()):
        parts = name.split(".")
        if level:
            parts = [*package.split(".")[: len(package.split(".")) - level + 1], *parts]
        parts = [part for part in parts if part]
        if parts and parts[0] != "ffe":  # our own code is in its version
            yield from _around(".".join(parts))
            if parts[-1] == "*":
                yield from _modules_in(".".join(parts[:-1]), own)


def _modules_in(package: str, own: str) -> Iterator[str]:
    """What `import *` may bring: every module of a package."""
    spec = _spec_of(package)
    if spec is not None and spec.origin and not _is_library(package, Path(spec.origin), own):
        for each in iter_modules(spec.submodule_search_locations):
            yield f"{package}.{each.name}"


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
