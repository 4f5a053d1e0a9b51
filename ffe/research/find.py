"""Find a strategy by what a user types: `strategies/ma_cross.py:MaCross`, or `module:Class`."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import inspect
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

from pydantic import ValidationError

from ffe.errors import StrategyError
from ffe.research.code import HASHED_AT_IMPORT, source_hash
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
    module = _from_file(Path(place)) if place.endswith(".py") else _by_name(place)
    found = getattr(module, name, None)
    if isinstance(found, type) and issubclass(found, Strategy):
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
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pydantic looks a class's annotations up there
    setattr(module, HASHED_AT_IMPORT, source_hash(path))
    with speaking(str(path), "while it was loaded"):
        spec.loader.exec_module(module)
    return module


def _by_name(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise StrategyError(f"{name} cannot be imported: {error}. Name a file: path/to/file.py:ClassName.") from None


def code_named(reference: str) -> str | None:
    """The hash of the source that a reference names, of which nothing is run; None where there is none to read."""
    place, _, _ = reference.rpartition(":")
    file = Path(place) if place.endswith(".py") else _file_of(place)
    return source_hash(file) if file is not None and file.is_file() else None


def _file_of(module: str) -> Path | None:
    """Of a module that an import would find. Packages around it are looked up and not imported."""
    place: Sequence[str] | None = None
    for n in range(1, len(parts := module.split(".")) + 1):
        try:
            spec = importlib.machinery.PathFinder.find_spec(".".join(parts[:n]), place)
        except (ImportError, ValueError):
            return None
        if spec is None:
            return None
        place = spec.submodule_search_locations
    return Path(spec.origin) if spec is not None and spec.origin else None


def with_parameters(kind: type[Strategy], given: Mapping[str, object]) -> Strategy:
    """A strategy with parameters, as values or as text, checked; StrategyError names what is wrong and what there
    is."""
    try:
        return kind(**given)
    except ValidationError as error:
        known = ", ".join(f"{name} ({field.default})" for name, field in kind.model_fields.items())
        wrong = "; ".join(
            f"{'.'.join(map(str, p['loc'])) or kind.__name__}: "
            f"{'no such parameter' if p['type'] == 'extra_forbidden' else p['msg']}"
            for p in error.errors()
        )
        raise StrategyError(f"{kind.__name__}: {wrong}. Its parameters are {known or 'none'}.") from None


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
