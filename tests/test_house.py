"""The laws of the house, read off the syntax trees: who may know whom, who may touch the world, who may make a key.

A room is a file or a folder of `ffe`. `risk.limits` is a room of its own: plain numbers that the configuration fills
and that sizing and memory read, where the rest of `risk` stands above them. So is `wire.connect`, which reads settings:
who speaks over a wire is given it and needs none.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "ffe").rglob("*.py"))
STRATEGIES = sorted(path.relative_to(ROOT) for path in (ROOT / "strategies").rglob("*.py"))
EVERYTHING = [*FILES, *STRATEGIES, *sorted(path.relative_to(ROOT) for path in (ROOT / "tests").rglob("*.py"))]

ROOMS_WITHIN = {"risk.limits": "limits", "wire.connect": "connect"}

VALUES = {"model", "errors", "kernels", "limits"}
BELOW = {*VALUES, "rounding", "session", "ports", "hours", "book", "sizing", "history", "memory"}
CORE = {*BELOW, "strategy", "risk", "engine"}
EDGE = {"wire", "connect", "brokers", "feeds", "data", "records", "config", "private", "plain"}
MAY_KNOW: dict[str, set[str]] = {
    "model": set(),
    "errors": set(),
    "kernels": set(),
    "limits": set(),
    "private": {"errors"},
    "plain": set(),
    "ports": {"model"},
    "rounding": {"model"},
    "command": {"errors", "plain"},
    "session": {"model"},
    "wire": {"model", "errors", "hours"},
    "connect": {"model", "errors", "config", "wire"},
    "hours": {"model", "errors"},
    "book": {"model"},
    "history": {"model"},
    "memory": {"model", "limits"},
    "sizing": {"model", "kernels", "limits", "rounding"},
    "indicators": {"kernels"},
    "strategy": {"model", "errors", "hours", "book", "history"},
    "risk": BELOW,
    "engine": CORE - {"engine"} | {"records"},
    "records": {"model", "errors", "ports", "private", "session"},
    "brokers": {"model", "errors", "kernels", "ports", "book", "hours", "rounding", "wire"},
    "data": {"model", "errors", "kernels", "ports", "book", "hours", "wire", "plain", "private"},
    "feeds": {"model", "errors", "kernels", "ports", "book", "hours", "data", "wire"},
    "config": {"model", "errors", "limits"},
    "research": CORE | EDGE | {"indicators"},
    "live": CORE | EDGE | {"indicators", "research", "command"},
    "api": CORE | EDGE | {"live", "research"},
}  # cli, demo, __main__ and the public door may know everybody

# The core and those that play its world in a simulation: no clock, no chance, no file, no thread, no environment.
PURE = {
    *CORE, "indicators", "brokers.sim", "brokers.faults", "feeds.bars", "feeds.merge", "feeds.synthetic",
    "feeds.agenda", "feeds.gather",
}  # fmt: skip
WORLDLY = {
    "time", "random", "secrets", "uuid", "os", "io", "socket", "ssl", "http", "urllib", "threading", "multiprocessing",
    "asyncio", "concurrent", "subprocess", "signal", "shutil", "tempfile", "logging", "ccxt", "duckdb", "requests",
}  # fmt: skip
LOCKED = "risk.breaker"  # usable from threads and from tasks alike: it may have a lock, and nothing else of threading
CLOCKS = {"now", "utcnow", "today"}
FILE_ACTS = {"read_text", "read_bytes", "write_text", "write_bytes", "mkdir", "unlink", "iterdir", "glob", "getenv"}
MODES = re.compile(r"(?:^|_)(?:live|paper|backtest\w*|simulat\w*|sandbox|practice|dry_run)(?:_|$)")
FLAGS = re.compile(
    r"^_?(?:is|in|if|not|for|only|run)_(?:live|paper|backtest\w*|simulat\w*|sandbox|practice|replay\w*)$"
)
MODE = re.compile(r"(?:^|_)(?:live|paper|backtest|simulation|trading|run)_?mode$", re.IGNORECASE)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(), str(path))


def name(path: Path) -> str:
    """risk.breaker of ffe/risk/breaker.py."""
    return ".".join(path.with_suffix("").parts[1:]).removesuffix(".__init__")


def room(module: str) -> str:
    return ROOMS_WITHIN.get(module) or module.partition(".")[0]


def imports(path: Path) -> Iterator[str]:
    """All that a file imports, wherever the import stands: `from ffe.kernels import fills` is ffe.kernels.fills."""
    for node in ast.walk(tree(path)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=0):
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.ImportFrom():
                raise AssertionError(f"{path}:{node.lineno}: imports relatively")


def identifiers(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        match node:
            case ast.Name(id=word) | ast.Attribute(attr=word) | ast.arg(arg=word) | ast.keyword(arg=str(word)):
                yield word
            case ast.FunctionDef(name=word) | ast.AsyncFunctionDef(name=word) | ast.ClassDef(name=word):
                yield word


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """The last word of what is called, with the call."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func).rpartition(".")[2], node


def rooms_of(path: Path) -> set[str]:
    ours = (module.split(".") for module in imports(path) if module.split(".")[0] == "ffe")
    return {room(".".join(parts[1:3])) for parts in ours if len(parts) > 1}


# ---------------------------------------------------------------- who may know whom


@pytest.mark.parametrize("path", [path for path in FILES if room(name(path)) in MAY_KNOW], ids=str)
def test_room_knows_only_whom_it_may(path: Path) -> None:
    own = room(name(path))
    assert rooms_of(path) <= MAY_KNOW[own] | {own}


def test_every_room_is_known_to_the_law() -> None:
    unruled = {room(name(path)) for path in FILES} - set(MAY_KNOW)
    assert unruled <= {"__init__", "__main__", "cli", "demo"}


def test_arrows_never_turn() -> None:
    for start, known in MAY_KNOW.items():
        seen, todo = set(), set(known)
        while todo:
            seen |= todo
            todo = set().union(*(MAY_KNOW[room] for room in todo)) - seen
        assert start not in seen


@pytest.mark.parametrize("path", STRATEGIES, ids=str)
def test_strategies_know_the_public_door_and_indicators_alone(path: Path) -> None:
    ours = {module for module in imports(path) if module.startswith("ffe")}
    assert all(module.count(".") == 1 or module.startswith("ffe.indicators.") for module in ours)


@pytest.mark.parametrize("path", [path for path in FILES if room(name(path)) in VALUES], ids=str)
def test_values_know_the_standard_library_and_kernels_numpy_and_numba(path: Path) -> None:
    foreign = {module.split(".")[0] for module in imports(path)} - set(sys.stdlib_module_names) - {"ffe"}
    assert foreign <= ({"numpy", "numba"} if room(name(path)) == "kernels" else set())


# ---------------------------------------------------------------- who may touch the world

PURE_FILES = [path for path in FILES if room(name(path)) in PURE or name(path) in PURE]


@pytest.mark.parametrize("path", PURE_FILES, ids=str)
def test_core_imports_nothing_of_the_world(path: Path) -> None:
    found = {module for module in imports(path) if module.split(".")[0] in WORLDLY}
    assert found == ({"threading"} if name(path) == LOCKED else set())


@pytest.mark.parametrize("path", PURE_FILES, ids=str)
def test_core_asks_no_clock_and_opens_no_file(path: Path) -> None:
    for called, node in calls(path):
        assert called not in CLOCKS | FILE_ACTS, f"{path}:{node.lineno}"
        assert ast.unparse(node.func) != "open", f"{path}:{node.lineno}"


def test_breaker_has_a_lock_and_nothing_else_of_threading() -> None:
    path = ROOT / "ffe/risk/breaker.py"
    used = {
        n.attr for n in ast.walk(tree(path)) if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "threading"
    }
    assert used == {"Lock"}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_chance_is_always_seeded(path: Path) -> None:
    for called, node in calls(path):
        assert called not in ("default_rng", "Random") or node.args, f"{path}:{node.lineno}"
        assert not ast.unparse(node.func).startswith(("np.random.", "random.")), f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_nothing_is_named_after_the_mode_it_runs_in(path: Path) -> None:
    words = set(identifiers(path))
    assert not [word for word in words if FLAGS.search(word.lower()) or MODE.search(word)]
    assert path not in PURE_FILES or not [word for word in words if MODES.search(word)]


def test_public_door_loads_nothing_heavy() -> None:
    heavy = "numba", "pandas", "ccxt", "vectorbt", "numpy", "duckdb", "matplotlib", "pydantic"
    script = f"import sys, ffe; dir(ffe); print([name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


# ---------------------------------------------------------------- keys


@pytest.mark.parametrize("path", [*FILES, *STRATEGIES], ids=str)
def test_only_the_gatekeeper_makes_an_approval(path: Path) -> None:
    made = [node.lineno for called, node in calls(path) if called == "Approved"]
    of = [ast.unparse(node.args[0]) for called, node in calls(path) if called == "replace" and node.args]
    assert not [given for given in of if given.rpartition(".")[2] == "approved"]
    assert (made != []) is (name(path) == "risk.gatekeeper")


# ---------------------------------------------------------------- errors, secrets of the trade


def handlers(path: Path) -> Iterator[tuple[str, ast.ExceptHandler]]:
    """Every except with the function that it stands in."""
    for function in ast.walk(tree(path)):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from ((function.name, node) for node in ast.walk(function) if isinstance(node, ast.ExceptHandler))


def is_broad(handler: ast.ExceptHandler) -> bool:
    caught = "BaseException" if handler.type is None else ast.unparse(handler.type)
    return bool({"Exception", "BaseException"} & set(re.findall(r"\w+", caught)))


def test_only_a_users_strategy_is_caught_whatever_it_raises() -> None:
    broad = [(name(path), function) for path in FILES for function, handler in handlers(path) if is_broad(handler)]
    assert broad == [("strategy", "speaking")]


@pytest.mark.parametrize("path", EVERYTHING, ids=str)
def test_no_pickle_and_no_mocks(path: Path) -> None:
    banned = {"pickle", "cPickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "mock"}
    assert not [module for module in imports(path) if banned & set(module.split("."))]
    for called, node in calls(path):
        assert called not in ("to_pickle", "read_pickle"), f"{path}:{node.lineno}"
        allows = [k for k in node.keywords if k.arg == "allow_pickle" and ast.unparse(k.value) != "False"]
        assert not allows, f"{path}:{node.lineno}"
        loads = ast.unparse(node.func) in ("np.load", "np.save", "numpy.load", "numpy.save")
        assert not loads or "allow_pickle" in {k.arg for k in node.keywords}, f"{path}:{node.lineno}"
