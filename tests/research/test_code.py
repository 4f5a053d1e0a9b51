"""A record names what ran: the strategy's file, what that imports from beside it, and what both ran on."""

from __future__ import annotations

import hashlib
import os
import platform
import py_compile
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from py_compile import PycInvalidationMode

import pytest

import ffe
from ffe.errors import StrategyError
from ffe.research import code
from ffe.research.backtest import Plan, World
from ffe.research.code import code_of, source_hash, versions
from ffe.research.find import code_named, strategy_of
from tests.parity.test_wake import coins

IDEA = """
from ffe import Columns, Signals, Strategy
from ffe.indicators import compare, on_edge, sma
{imports}

WINDOW = {window}


class Idea(Strategy):
    @property
    def warmup(self) -> int:
        return WINDOW + 1

    def signals(self, bars: Columns) -> Signals:
        above = compare(bars.close, sma(bars.close, WINDOW)).clip(lower=0.0)
        return Signals(side=on_edge(above), confidence=85)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")  # as a notebook and `python -m` have it
    return tmp_path


def written(name: str = "idea.py", imports: str = "", window: int = 5) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(IDEA.format(imports=imports, window=window))
    return path


def session_of(reference: str) -> str:
    return Plan(strategy_of(reference)(), coins(bars=300), ffe.load_settings(), None, World()).stamp.session


def test_constant_above_the_class_makes_another_session(folder: Path) -> None:
    """Other results had the same session id, the same hash and the same decision ids."""
    written()
    before = session_of("idea.py:Idea")
    assert session_of("idea.py:Idea") == before
    written(window=7)
    assert session_of("idea.py:Idea") != before


def test_hash_is_of_what_was_loaded_and_not_of_what_stands_there_later(folder: Path) -> None:
    loaded = strategy_of(f"{written()}:Idea")()
    before = source_hash(Path("idea.py"))
    written(window=7)
    assert code_of(loaded) == before != source_hash(Path("idea.py"))


def test_file_does_not_name_its_own_hash(folder: Path) -> None:
    """What it wrote there stood in the records, and was what arming compared."""
    written(imports="__ffe_source_sha256__ = '0' * 64")
    loaded = strategy_of("idea.py:Idea")()
    assert code_of(loaded) == source_hash(Path("idea.py"))


@pytest.mark.parametrize(
    ("imports", "file"),
    [
        ("import helper", "helper.py"), ("from helper import LENGTH", "helper.py"),
        ("import tools.deep.helper", "tools/deep/helper.py"), ("from tools.deep import helper", "tools/deep/helper.py"),
        ("from tools import deep", "tools/deep/__init__.py"), ("import tools.deep.helper", "tools/__init__.py"),
        ("def later():\n    import helper", "helper.py"), ("import helper as h, math", "helper.py"),
        ("try:\n    import helper\nexcept ImportError:\n    pass", "helper.py"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["idea.py", "ideas/idea.py"])
def test_whatever_it_imports_from_beside_it_is_part_of_it(folder: Path, imports: str, file: str, place: str) -> None:
    for name in ("helper.py", "tools/__init__.py", "tools/deep/__init__.py", "tools/deep/helper.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("LENGTH = 1\n")
    path = written(place, imports)
    before = source_hash(path)
    (folder / file).write_text("LENGTH = 2\n")
    assert source_hash(path) != before


def test_imports_of_imports_are_part_of_it_and_a_circle_ends(folder: Path) -> None:
    Path("one.py").write_text("import two\n")
    Path("two.py").write_text("import one, three\n")
    Path("three.py").write_text("X = 1\n")
    path = written(imports="import one")
    before = source_hash(path)
    Path("three.py").write_text("X = 2\n")
    assert source_hash(path) != before


@pytest.mark.parametrize("imports", ["from . import helper", "from .helper import X", "from ..sub import helper"])
def test_relative_imports_of_a_package_are_part_of_it(folder: Path, imports: str) -> None:
    for name in ("pack/__init__.py", "pack/sub/__init__.py", "pack/sub/helper.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("X = 1\n")
    path = written("pack/sub/idea.py", imports)
    before = source_hash(path)
    (folder / "pack/sub/helper.py").write_text("X = 2\n")
    assert source_hash(path) != before
    (folder / "pack/sub/helper.py").write_text("X = 1\n")
    assert source_hash(path) == before == code_named("pack.sub.idea:Idea")


def test_packages_around_a_module_are_part_of_it(folder: Path) -> None:
    """They run before it."""
    for name in ("pack/__init__.py", "pack/sub/__init__.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("X = 1\n")
    written("pack/sub/idea.py")
    before = code_named("pack.sub.idea:Idea")
    (folder / "pack/__init__.py").write_text("X = 2\n")
    assert code_named("pack.sub.idea:Idea") != before


def test_whatever_a_star_brings_is_part_of_it(folder: Path) -> None:
    (folder / "tools").mkdir()
    Path("tools/__init__.py").write_text("__all__ = ['helper']\n")
    Path("tools/helper.py").write_text("X = 1\n")
    path = written(imports="from tools import *")
    before = source_hash(path)
    Path("tools/helper.py").write_text("X = 2\n")
    assert source_hash(path) != before


def test_what_python_imports_is_what_is_hashed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file beside the strategy was hashed, and one of the same name elsewhere was imported."""
    for place in ("ideas", "first"):
        Path(place).mkdir()
        Path(place, "helper.py").write_text("X = 1\n")
    path = written("ideas/idea.py", "import helper")
    monkeypatch.syspath_prepend(folder / "first")
    before = source_hash(path)
    Path("ideas/helper.py").write_text("X = 2\n")
    assert source_hash(path) == before, "which no import finds"
    Path("first/helper.py").write_text("X = 2\n")
    assert source_hash(path) != before


def test_libraries_are_no_part_of_it(folder: Path) -> None:
    assert source_hash(written(imports="import json, numpy.linalg, pandas")) == source_hash_of_text(Path("idea.py"))


def test_package_of_the_strategys_own_is_part_of_it_wherever_it_was_installed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was taken for a library, whose version nobody names."""
    monkeypatch.setattr(code, "_libraries", lambda: (folder.resolve(),))
    Path("ideas").mkdir()
    for name in ("__init__", "helper", "deeper"):
        Path(f"ideas/{name}.py").write_text("X = 1\n")
    path = written("ideas/idea.py", "from ideas import helper, json\nfrom .deeper import *\nimport other")
    Path("other.py").write_text("X = 1\n")
    for name in ("helper", "deeper", "__init__"):
        before = source_hash(path)
        Path(f"ideas/{name}.py").write_text("X = 2\n")
        assert source_hash(path) != before, name
    before = source_hash(path)
    Path("other.py").write_text("X = 2\n")
    assert source_hash(path) == before, "a library"


def test_command_line_finds_what_python_finds(folder: Path) -> None:
    """What `ffe arm` signed was another hash than that of the session, which found what lies beside."""
    Path("beside.py").write_text("LENGTH = 5\n")
    written(imports="import beside")
    command = [str(Path(sys.executable).with_name("ffe")), "backtest", "idea.py:Idea", "-s", "NONE"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    assert "UnknownSymbol" in said and "beside" not in said


def source_hash_of_text(path: Path) -> str:
    return hashlib.sha256(f"\n{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode()).hexdigest()


def compiled(path: Path, source: str, mode: PycInvalidationMode) -> None:
    """Bytecode of something else, which says that it is of what the file holds."""
    kept, found = path.read_text(), path.stat()
    path.write_text(source.ljust(len(kept)))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    py_compile.compile(str(path), invalidation_mode=mode)
    path.write_text(kept)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


@pytest.mark.parametrize("mode", [PycInvalidationMode.TIMESTAMP, PycInvalidationMode.UNCHECKED_HASH])
@pytest.mark.parametrize("name", ["idea.py", "helper.py"])
def test_bytecode_that_came_with_a_source_is_not_run(folder: Path, name: str, mode: PycInvalidationMode) -> None:
    """The hash was that of the source, and the bytecode ran."""
    Path("helper.py").write_text("X = 1\n" + "#" * 99 + "\n")
    written(imports="import helper")
    compiled(Path(name), "open('ran', 'w').close()\n", mode)
    monkey = sys.modules.pop("helper", None)
    try:
        strategy_of("idea.py:Idea")
    finally:
        sys.modules.pop("helper", None)
        if monkey is not None:
            sys.modules["helper"] = monkey
    assert not Path("ran").exists()


def test_strategy_that_is_only_imported_is_named_where_it_is_defined(folder: Path) -> None:
    """What the importing file had changed was in no hash."""
    Path("idea.py").write_text("import strategies.ma_cross\nfrom strategies.ma_cross import MaCross\n")
    with pytest.raises(StrategyError, match=r"does not define MaCross.*strategies\.ma_cross:MaCross"):
        strategy_of("idea.py:MaCross")


SCRIPT = (
    IDEA
    + """

if __name__ == "__main__":
    from ffe.research.code import code_of

    print(code_of(Idea()))
"""
)


def hash_of_script(window: int) -> str:
    Path("run.py").write_text(SCRIPT.format(imports="", window=window))
    done = subprocess.run([sys.executable, "run.py"], capture_output=True, text=True, check=True)
    return done.stdout


def test_constant_of_a_script_is_part_of_it(folder: Path) -> None:
    assert hash_of_script(5) == hash_of_script(5) != hash_of_script(7)


CELLS = """
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
shell.run_cell({cell!r}, store_history=True).raise_error()
shell.run_cell("from ffe.research.code import code_of; print(code_of(Idea()))").raise_error()
"""


def hash_of_cell(window: int) -> str:
    cell = IDEA.format(imports="", window=window)
    code = CELLS.format(cell=cell)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_cell_of_a_notebook_is_what_is_hashed(folder: Path) -> None:
    """It was the hash of nothing at all: any two strategies of notebooks had the same."""
    assert hash_of_cell(5) == hash_of_cell(5) != hash_of_cell(7)


def test_strategy_without_any_source_is_no_other(folder: Path) -> None:
    made = []
    for _ in range(2):
        space: dict[str, object] = {"__name__": "nowhere"}
        exec(IDEA.format(imports="", window=5), space)
        made.append(space["Idea"]())  # type: ignore[operator]
    assert code_of(made[0]) != code_of(made[1]) and code_of(made[0]) == code_of(made[0])


def test_file_that_it_does_not_import_is_no_part_of_it(folder: Path) -> None:
    path = written()
    Path("helper.py").write_text("X = 1\n")
    before = source_hash(path)
    Path("helper.py").write_text("X = 2\n")
    assert source_hash(path) == before


def test_hash_is_the_same_wherever_the_files_lie(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = set()
    for place in ("a", "b/c"):
        (folder / place).mkdir(parents=True)
        monkeypatch.chdir(folder / place)
        Path("helper.py").write_text("X = 1\n")
        found.add(source_hash(written(imports="import helper")))
    assert len(found) == 1


def test_naming_code_runs_none_of_it(folder: Path) -> None:
    Path("evil.py").write_text("open('ran', 'w').close()\nimport helper\n")
    Path("helper.py").write_text("open('ran', 'w').close()\n")
    (folder / "pack").mkdir()
    Path("pack/__init__.py").write_text("open('ran', 'w').close()\n")
    Path("pack/evil.py").write_text("open('ran', 'w').close()\n")
    assert code_named("evil.py:Evil") and code_named("nowhere.py:Evil") is None
    code_named("pack.evil:Evil")
    assert code_named("no.such.module:Evil") is None and not Path("ran").exists()


@pytest.mark.parametrize("source", ["def (", "\0", "(" * 5_000])
def test_source_that_cannot_be_parsed_has_a_hash_all_the_same(folder: Path, source: str) -> None:
    Path("odd.py").write_text(source)
    assert source_hash(Path("odd.py")) != source_hash(written())


def test_versions_are_those_that_are_installed() -> None:
    assert versions()["python"] == platform.python_version() and versions()["numpy"] == version("numpy")
    assert set(versions()) == {"python", "numpy", "pandas", "numba", "ccxt"}
