"""Mutation testing: change the code in one place and see whether a test notices. `make mutate` runs it.

Law: nothing on disk changes, every mutant has its own process, and each one that no test notices is named.

One process imports the heavy packages once, then forks a child per mutant. The child imports the code with one module
changed in memory and runs the tests, those named after the module first; a failure, a crash or a time-out is a catch.
Kernels run interpreted (a mutant is not worth a compilation), hypothesis derandomised and small. A change that cannot
matter is declared on its line, `# mutate: equivalent, why`, skipped and counted apart.
"""

from __future__ import annotations

import argparse
import ast
import copy
import gc
import importlib
import io
import math
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

FILES = ("ffe/kernels/*.py", "ffe/risk/*.py", "ffe/book.py", "ffe/sizing.py", "ffe/engine.py")
STORIES = "tests/story"
HEAVY = (
    *("numpy", "pandas", "numba", "duckdb", "hypothesis", "hypothesis.stateful", "hypothesis.extra.numpy", "pytest"),
    *("pydantic", "pydantic_settings", "exchange_calendars", "matplotlib.pyplot", "scipy.stats"),
)
# Read when numba, numpy and matplotlib are imported. One thread each: children run side by side, and a fork copies only
# the thread that calls it.
ENVIRONMENT = {
    "NUMBA_DISABLE_JIT": "1",
    "MPLBACKEND": "Agg",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "HYPOTHESIS_PROFILE": "mutation",
}
PYTEST = (
    *("-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not slow and not campaign"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # hypothesis is imported already, which is the point
)
ENOUGH = 0.95
MEMORY = 8 << 30  # bytes: a loop that never ends may fill a list meanwhile
NO_TESTS = 5  # pytest's exit code
PLAIN: Any = {"markup": False, "highlight": False, "soft_wrap": True}  # for lines of code
SIGN = re.compile(r"\bside\b")  # +1 or -1: to divide by it is to multiply
EQUIVALENT = re.compile(r"#\s*mutate: equivalent,\s*\S")

# ---------------------------------------------------------------- what is changed

# A test that tells < from <= stands on the boundary, where >= would be wrong too: one neighbour each is enough.
TWINS = (
    *((ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Eq, ast.NotEq), (ast.Is, ast.IsNot), (ast.In, ast.NotIn)),
    *((ast.Add, ast.Sub), (ast.Mult, ast.Div), (ast.BitAnd, ast.BitOr), (ast.And, ast.Or)),
    *(("min", "max"), ("minimum", "maximum"), ("fmin", "fmax"), ("nanmin", "nanmax"), ("argmin", "argmax")),
)
OPPOSITE: dict[Any, Any] = {a: b for pair in TWINS for a, b in (pair, pair[::-1])}
OPPOSITE |= {ast.FloorDiv: ast.Div, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult}
BARE = (ast.Name, ast.Attribute, ast.Call, ast.Subscript)  # conditions that hold no operator of their own

# What declares or explains, and does not compute.
DECLARATIONS: dict[type[ast.AST], tuple[str, ...]] = {
    ast.FunctionDef: ("decorator_list", "returns"),
    ast.AsyncFunctionDef: ("decorator_list", "returns"),
    ast.ClassDef: ("decorator_list", "bases", "keywords"),
    ast.arguments: ("defaults", "kw_defaults"),
    ast.arg: ("annotation",),
    ast.AnnAssign: ("annotation",),
    ast.JoinedStr: ("values",),
}

Site = tuple[ast.expr | ast.stmt, ast.AST]  # what stands there, and what could stand there instead


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: the site-th of a file, with its line before and after."""

    file: str
    line: int
    site: int
    before: str
    after: str


def sites(tree: ast.AST) -> list[Site]:
    return [site for node, parent in computations(tree, tree) for site in replacements(node, parent)]


def computations(node: ast.AST, parent: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Every node that takes part in computing something, with its parent, in the order of the source."""
    yield node, parent
    for name, value in ast.iter_fields(node):
        children = () if name in DECLARATIONS.get(type(node), ()) else value if isinstance(value, list) else (value,)
        for child in children:
            if isinstance(child, ast.AST) and not is_field(child, node):
                yield from computations(child, node)


def is_field(node: ast.AST, parent: ast.AST) -> bool:
    """A line of a dataclass or a settings model: its default is documentation that every test may override."""
    return isinstance(node, ast.AnnAssign) and isinstance(parent, ast.ClassDef)


def replacements(node: ast.AST, parent: ast.AST) -> Iterator[Site]:
    match node:
        case ast.Compare(ops=ops):
            for n, op in enumerate(ops):
                yield node, changed(node, ops=[*ops[:n], OPPOSITE[type(op)](), *ops[n + 1 :]])
        case ast.BinOp(op=ast.Mult(), right=right) if SIGN.search(ast.unparse(right)):
            yield node, changed(node, op=ast.Add())
        case ast.BinOp(op=op) | ast.AugAssign(op=op) | ast.BoolOp(op=op) if type(op) in OPPOSITE:
            yield node, changed(node, op=OPPOSITE[type(op)]())
        case ast.UnaryOp(op=ast.USub() | ast.Not() | ast.Invert(), operand=operand):
            yield node, operand
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            for near in neighbours(value, is_bound=isinstance(parent, ast.Compare)):
                yield node, changed(node, value=near)
        case ast.Call(func=ast.Name(id=name) as called) if name in OPPOSITE:
            yield called, changed(called, id=OPPOSITE[name])
        case ast.Call(func=ast.Attribute(attr=name) as called) if name in OPPOSITE:
            yield called, changed(called, attr=OPPOSITE[name])
        case ast.Return(value=ast.Constant(value=bool(said)) as value):
            yield value, changed(value, value=not said)
        case ast.Return(value=ast.Compare() | ast.BoolOp() as value):
            yield value, negated(value)
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test) if isinstance(test, BARE):
            yield test, negated(test)
        case ast.comprehension(ifs=tests):
            yield from ((test, negated(test)) for test in tests if isinstance(test, BARE))


def changed(node: Any, **fields: object) -> Any:
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def negated(test: ast.expr) -> ast.expr:
    return ast.copy_location(ast.UnaryOp(ast.Not(), test), test)


def neighbours(value: float, is_bound: bool) -> list[float]:
    """A whole number's next, a real one's hundredth, a tolerance's thousandfold; a bound moves both ways."""
    if value == 0 or isinstance(value, int):
        near = [value + 1, value - 1]
    else:
        factor = 1.01 if abs(value) > 1e-6 else 1000
        near = [value * factor, value / factor]
    return [new for new in near[: 1 + is_bound] if math.isfinite(new)]


class Swap(ast.NodeTransformer):
    """Puts one node in the place of another, found by identity."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)


def mutated(source: str, file: str, site: int) -> CodeType:
    """The module's code with one change, every line where it was."""
    tree = ast.parse(source)
    tree = Swap(*sites(tree)[site]).visit(tree)
    return compile(ast.fix_missing_locations(tree), file, "exec", dont_inherit=True)


def mutants(root: Path, file: str) -> tuple[list[Mutant], int]:
    """A file's mutants, and how many more are declared equivalent."""
    source = (root / file).read_text()
    lines = source.splitlines()
    changes = enumerate(sites(ast.parse(source)))
    found = [Mutant(file, old.lineno, n, *shown(old, new, lines)) for n, (old, new) in changes]
    kept = [mutant for mutant in found if not EQUIVALENT.search(lines[mutant.line - 1])]
    return kept, len(found) - len(kept)


def shown(old: ast.expr | ast.stmt, new: ast.AST, lines: Sequence[str]) -> tuple[str, str]:
    """The line before and after; of a change that spans several lines, the expression alone."""
    if old.end_lineno != old.lineno:
        return ast.unparse(old), ast.unparse(new)
    line = lines[old.lineno - 1].encode()  # columns count bytes
    after = line[: old.col_offset] + ast.unparse(new).encode() + line[old.end_col_offset :]
    return line.decode().strip(), after.decode().strip()


# ---------------------------------------------------------------- one child


class Finder(MetaPathFinder):
    """Answers for one module name, with code that is in no file."""

    def __init__(self, name: str, loader: MutantLoader) -> None:
        self.name, self.loader = name, loader

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        return spec_from_file_location(fullname, loader=self.loader) if fullname == self.name else None


class MutantLoader(SourceFileLoader):
    def __init__(self, name: str, file: str, code: CodeType) -> None:
        super().__init__(name, file)
        self.code = code

    def get_code(self, fullname: str) -> CodeType:
        return self.code


def module_name(file: str) -> str:
    return ".".join(Path(file).with_suffix("").parts).removesuffix(".__init__")


def install(root: Path, mutant: Mutant) -> None:
    file, name = root / mutant.file, module_name(mutant.file)
    code = mutated(file.read_text(), str(file), mutant.site)
    sys.meta_path.insert(0, Finder(name, MutantLoader(name, str(file), code)))


def stages(root: Path, file: str, tests: Sequence[str]) -> list[list[str]]:
    """pytest's arguments, nearest tests first: those named after the file, its folder's, the stories, the rest."""
    path = Path(file)
    named = sorted(str(test.relative_to(root)) for test in root.glob(f"tests/**/test_{path.stem}.py"))
    folder = [str(Path("tests", *path.parts[1:-1]))] if len(path.parts) > 2 else []
    done: list[str] = []
    found = []
    near = [[name] for name in (*folder, STORIES) if (root / name).is_dir()]
    for group in (named, *near, list(tests)):
        if group:
            found.append([*group, *(f"--ignore={name}" for name in done)])
            done += group
    return found


def verdict(selections: Sequence[Sequence[str]]) -> int:
    """0 when every selection passes; a selection without tests passes, all without tests do not."""
    import pytest

    answers = []
    for selection in selections:
        answers.append(int(pytest.main([*PYTEST, *selection])))
        if answers[-1] not in (0, NO_TESTS):
            return answers[-1]
    return 0 if 0 in answers else NO_TESTS


def fork(root: Path, selections: Sequence[Sequence[str]], mutant: Mutant | None, scratch: Path, output: Path) -> int:
    """Start a child that leaves with its verdict, and return its process id."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        confine(root, scratch, output)
        if mutant:
            install(root, mutant)
        code = verdict(selections)
    finally:
        os._exit(code)  # whatever happened, the parent's loop runs in the parent alone


def confine(root: Path, scratch: Path, output: Path) -> None:
    """Its own process group, output, temporary folder and memory."""
    os.setsid()
    for stream, where, flags in ((0, os.devnull, os.O_RDONLY), (1, output, os.O_WRONLY), (2, output, os.O_WRONLY)):
        os.dup2(os.open(where, flags | os.O_CREAT | os.O_APPEND), stream)
    os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.chdir(root)
    sys.path[0] = str(root)  # in place of this script's folder


# ---------------------------------------------------------------- all of them


@dataclass(slots=True)
class Child:
    pid: int
    deadline: float
    scratch: tempfile.TemporaryDirectory[str]

    def code(self) -> int | None:
        """The exit code, None while it runs; a signal or the deadline is no 0."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid and time.monotonic() < self.deadline:
            return None
        self.end(reaped=bool(pid))
        return os.waitstatus_to_exitcode(status) if pid else -signal.SIGKILL

    def end(self, reaped: bool) -> None:
        with suppress(ProcessLookupError):  # a group that has ended; else what the child left behind
            os.killpg(self.pid, signal.SIGKILL)
        if not reaped:
            os.waitpid(self.pid, 0)
        self.scratch.cleanup()


Start = Callable[[Mutant], Child]


def race(todo: Sequence[Mutant], start: Start, width: int) -> Iterator[tuple[Mutant, bool]]:
    """Run every mutant, width at a time, and tell of each, as it ends, whether it was caught."""
    queue, running = list(reversed(todo)), {}
    try:
        while queue or running:
            while queue and len(running) < width:
                mutant = queue.pop()
                running[mutant] = start(mutant)
            ended = {mutant: code for mutant, child in running.items() if (code := child.code()) is not None}
            for mutant, code in ended.items():
                del running[mutant]
                yield mutant, code != 0
            time.sleep(0 if ended else 0.01)
    finally:
        for child in running.values():
            child.end(reaped=False)


def warm_up() -> None:
    """Import what is heavy and not ours; a kernel that is not compiled still has its plain body as `py_func`."""
    os.environ.update(ENVIRONMENT)
    for name in HEAVY:
        importlib.import_module(name)
    import numba
    import pytest

    numba.njit = interpreted
    with tempfile.TemporaryDirectory() as empty, redirect_stdout(io.StringIO()):
        pytest.main([*PYTEST, "-c", os.devnull, "--rootdir", empty, empty])  # imports the plugins
    gc.freeze()  # pytest collects garbage at its end: not what every child has in common


def interpreted(body: Any = None, **options: object) -> Any:
    if body is None:
        return interpreted
    body.py_func = body
    return body


def baseline(root: Path, selections: Sequence[Sequence[str]], console: Console) -> float:
    """How long the unchanged code takes to pass; if it does not, nothing can be said about a changed one."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "output"
        pid = fork(root, selections, None, Path(scratch), output)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
            console.print(output.read_text(), **PLAIN)
            sys.exit("The unchanged code does not pass the selected tests: make them green first.")
    return time.monotonic() - began


def run(root: Path, todo: Sequence[Mutant], options: argparse.Namespace, console: Console) -> dict[Mutant, bool]:
    warm_up()
    selections = {file: stages(root, file, options.tests) for file in {mutant.file for mutant in todo}}
    took = baseline(root, next(iter(selections.values())), console)
    limit = options.seconds or 10 + 4 * took
    console.print(f"{len(todo)} mutants; unchanged, all tests pass in {took:.1f} s; at most {limit:.0f} s each")

    def start(mutant: Mutant) -> Child:
        scratch = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        pid = fork(root, selections[mutant.file], mutant, Path(scratch.name), Path(os.devnull))
        return Child(pid, time.monotonic() + limit, scratch)

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # No refreshing thread: a fork while another thread holds a lock never gets it back.
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        bar, caught = progress.add_task("mutants", total=len(todo)), {}
        for mutant, was_caught in race(todo, start, options.jobs):
            caught[mutant] = was_caught
            alive = len(caught) - sum(caught.values())
            if len(caught) % 50 == 0 and not console.is_terminal:
                console.print(f"{len(caught)} of {len(todo)}, {alive} survive")
            progress.update(bar, advance=1, description=f"{mutant.file}, {alive} survive")
            progress.refresh()
    gc.unfreeze()
    return caught


# ---------------------------------------------------------------- what is said of it


def report(caught: dict[Mutant, bool], declared: dict[str, int], console: Console) -> float:
    """A row per file, every survivor, and the share that was caught."""
    survivors = sorted((mutant for mutant, was_caught in caught.items() if not was_caught), key=place)
    console.print(table(Counter(m.file for m in caught), Counter(m.file for m in survivors), declared))
    for mutant in survivors:
        console.print(f"{mutant.file}:{mutant.line}  {mutant.before}  ->  {mutant.after}", **PLAIN)
    return share(len(caught), len(survivors))


def table(total: Counter[str], survived: Counter[str], declared: dict[str, int]) -> Table:
    found = Table()
    found.add_column("file", no_wrap=True)
    for name in ("mutants", "caught", "survived", "share", "declared equivalent"):
        found.add_column(name, justify="right")
    rows = [(file, total[file], survived[file], declared[file]) for file in sorted(declared)]
    for name, count, lived, equivalent in [*rows, ("all", total.total(), survived.total(), sum(declared.values()))]:
        cells = (count, count - lived, lived, f"{share(count, lived):.1%}" if count else "", equivalent)
        found.add_row(name, *map(str, cells))
    return found


def share(count: int, survived: int) -> float:
    return 1 - survived / count if count else 1.0


def place(mutant: Mutant) -> tuple[str, int, int]:
    return mutant.file, mutant.line, mutant.site


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Change the code one place at a time; name what no test notices.")
    parser.add_argument("--files", nargs="+", default=FILES, metavar="GLOB", help="what to change (%(default)s)")
    parser.add_argument("--tests", nargs="+", default=["tests"], metavar="PATH", help="what must notice (%(default)s)")
    parser.add_argument("--only", type=int, metavar="LINE", help="one line's mutants")
    parser.add_argument("--sample", type=int, metavar="K", help="K of them, drawn with --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, help="limit for one mutant (10 + 4 times an unchanged run)")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time (%(default)s)")
    parser.add_argument("--list", action="store_true", help="show the mutants and run nothing")
    return parser.parse_args(given)


def chosen(found: list[Mutant], options: argparse.Namespace) -> list[Mutant]:
    todo = [mutant for mutant in found if options.only in (None, mutant.line)]
    if options.sample is None or options.sample >= len(todo):
        return todo
    return sorted(random.Random(options.seed).sample(todo, options.sample), key=place)


def main(given: Sequence[str] | None = None) -> int:
    options, root, console = arguments(given), Path.cwd(), Console()
    files = sorted({str(path.relative_to(root)) for glob in options.files for path in root.glob(glob)})
    found = {file: mutants(root, file) for file in files}
    todo = chosen([mutant for kept, _ in found.values() for mutant in kept], options)
    if not todo:
        sys.exit(f"Nothing to change in {', '.join(options.files)}.")
    if options.list:
        for mutant in todo:
            console.print(f"{mutant.file}:{mutant.line}  {mutant.before}  ->  {mutant.after}", **PLAIN)
        return 0
    declared = {file: equivalent for file, (_, equivalent) in found.items()}
    return 0 if report(run(root, todo, options, console), declared, console) >= ENOUGH else 1


if __name__ == "__main__":
    sys.exit(main())
