"""Find a strategy by what a user types: `strategies/ma_cross.py:MaCross`, or `module:Class`."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from ffe.errors import FfeError, StrategyError
from ffe.private import own_folder, state_folder
from ffe.research.code import HASHED_AT_IMPORT, file_of, source_hash
from ffe.strategy import Strategy, speaking

FROM_FILE = "ffe_strategy_"  # begins the names of modules that no import finds


def strategy_of(reference: str) -> type[Strategy]:
    """The class that a reference names; StrategyError says what was found instead."""
    place, colon, name = reference.rpartition(":")
    if not colon:
        raise StrategyError(f"{reference!r} names no strategy: write path/to/file.py:ClassName.")
    if place == "__main__":
        raise StrategyError(
            f"{name} was defined in a notebook or a script: keep it in a file to use it from elsewhere."
        )
    with suppress(OSError):  # the folder is gone
        # What stands beside it is found where `python -m` finds it, behind all that is installed: nothing in a folder
        # may stand in for a library. No command does this that runs no strategy.
        if (here := str(Path.cwd())) not in sys.path:
            sys.path.append(here)
    with _own_bytecode():
        module = _from_file(Path(place)) if place.endswith(".py") else _by_name(place)
    found = getattr(module, name, None)
    if isinstance(found, type) and issubclass(found, Strategy):
        if found.__module__ != module.__name__:
            raise StrategyError(
                f"{place} does not define {name}, it imports it: name the file or the module that does, "
                f"as in {found.__module__}:{found.__qualname__}. A record says which code ran."
            )
        return found
    there = [
        key
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Strategy) and value is not Strategy
    ]
    raise StrategyError(f"{place} has no strategy {name!r}; it has {', '.join(there) or 'none'}.")


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        near = ", ".join(sorted(p.name for p in path.parent.glob("*.py"))) or "no Python file"
        raise StrategyError(f"{path}: no such file; {path.parent} holds {near}.")
    name = FROM_FILE + path.stem
    spec = importlib.util.spec_from_file_location(name, path, loader=SourceOnly(name, str(path)))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pydantic looks a class's annotations up there
    hashed = source_hash(path)
    setattr(module, HASHED_AT_IMPORT, hashed)
    with speaking(str(path), "while it was loaded"):
        spec.loader.exec_module(module)
    setattr(module, HASHED_AT_IMPORT, hashed)  # again: what the file says of itself is not it
    return module


class SourceOnly(SourceFileLoader):
    """Runs what the file says now. Bytecode beside it may be another's, or older: a file that was edited twice within a
    second ran as it had been."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


@contextmanager
def _own_bytecode() -> Iterator[None]:
    """What is imported meanwhile is compiled by this user: what came with a source is not what its hash is of."""
    before = sys.pycache_prefix
    try:
        sys.pycache_prefix = str(own_folder(state_folder() / "bytecode"))
    except FfeError:
        sys.pycache_prefix = os.devnull  # nothing is read there, and nothing written
    try:
        yield
    finally:
        sys.pycache_prefix = before


def _by_name(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise StrategyError(f"{name} cannot be imported: {error}. Name a file: path/to/file.py:ClassName.") from None


def code_named(reference: str) -> str | None:
    """The hash of the source that a reference names, of which nothing is run; None where there is none to read."""
    file = file_named(reference)
    return source_hash(file) if file is not None else None


def file_named(reference: str) -> Path | None:
    """The file that a reference names, if it is there."""
    place, _, _ = reference.rpartition(":")
    file = Path(place) if place.endswith(".py") else file_of(place)
    return file if file is not None and file.is_file() else None


def with_parameters(kind: type[Strategy], given: Mapping[str, object]) -> Strategy:
    """A strategy with parameters, as values or as text, checked; StrategyError names what is wrong and what there
    is."""
    return kind(**given)


def reference_of(strategy: Strategy) -> str:
    """Where a strategy's class stands, as one would type it here: its file, or its module."""
    kind = type(strategy)
    module = kind.__module__
    if module == "__main__" and (spec := sys.modules[module].__spec__) is not None:
        module = spec.name  # run by `python -m`
    source = inspect.getsourcefile(kind) if module != "__main__" else None
    is_near = source is not None and Path(source).resolve().is_relative_to(Path.cwd())
    if source is not None and (is_near or module.startswith(FROM_FILE)):
        return f"{Path(os.path.relpath(source)).as_posix()}:{kind.__qualname__}"
    return f"{module}:{kind.__qualname__}"
