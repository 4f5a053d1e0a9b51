"""The mutation tool on a package of two modules: one whose tests are good, one whose test is weak."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests import mutation

GOOD = """\
def is_refused(fact: float, limit: float = 0.05) -> bool:
    return not fact <= limit


def clipped(value: float) -> float:
    return min(max(value, -1), 10)  # mutate: equivalent, a line declared for the test


def forever(n: int) -> int:
    while n > 0:
        n -= 1
    return n
"""
GOOD_TEST = """\
from shop.good import clipped, forever, is_refused


def test_boundary_and_ignorance():
    assert not is_refused(0.05) and is_refused(0.06) and is_refused(float("nan"))


def test_ends():
    assert forever(3) == 0 and forever(1) == 0
"""
WEAK = """\
def fee(price: float, rate: float) -> float:
    return price * rate + 2
"""
WEAK_TEST = """\
from shop.weak import fee


def test_fee():
    assert fee(100, 0) > 1
"""

SHOP = {
    "shop/good.py": GOOD,
    "shop/weak.py": WEAK,
    "tests/test_good.py": GOOD_TEST,
    "tests/test_weak.py": WEAK_TEST,
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("checkout")
    for name, text in SHOP.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    return root


def mutate(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, mutation.__file__, "--seconds", "3", *options]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def row(table: str, file: str) -> list[str]:
    """The cells behind a file's name."""
    return next(line for line in table.splitlines() if line.startswith(f"│ {file}")).replace("│", " ").split()[1:]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("a < b <= c", ["a <= b <= c", "a < b < c"]),
        ("a is not b", ["a is b"]),
        ("a and b", ["a or b"]),
        ("-a // b", ["-a / b", "a"]),
        ("a * trade.side", ["a + trade.side"]),
        ("a += 3", ["a -= 3", "4"]),
        ("a > 3", ["a >= 3", "4", "2"]),
        ("f(0.5)", ["0.505"]),
        ("f(1e-8)", ["1e-05"]),
        ("max(a, b)", ["min"]),
        ("np.argmin(a)", ["np.argmax"]),
        ("def f() -> bool: return a == b", ["not a == b", "a != b"]),
        ("def f() -> bool: return True", ["False"]),
        ("[a for a in b if a.held]", ["not a.held"]),
        ("@jit(depth=3)\ndef f(x: A[1] = 2): '''3'''", []),
        ("class A:\n    limit: float = 0.5", []),
        ("f'{100 * a:.1f}'", []),
    ],
)
def test_what_is_changed(code: str, expected: list[str]) -> None:
    assert [ast.unparse(new) for _, new in mutation.sites(ast.parse(code))] == expected


def test_change_stands_on_its_own_line() -> None:
    with pytest.raises(AssertionError) as raised:
        exec(mutation.mutated("a = 1\n\n\nassert (a ==\n        1)\n", "shop.py", site=1))
    assert raised.traceback[-1].lineno + 1 == 4


def test_nearest_tests_run_first(shop: Path) -> None:
    assert mutation.stages(shop, "shop/weak.py", ["tests"]) == [
        ["tests/test_weak.py"],
        ["tests", "--ignore=tests/test_weak.py"],
    ]


@pytest.mark.slow
def test_good_tests_catch_every_mutant(shop: Path) -> None:
    ran = mutate(shop, "--files", "shop/good.py")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert row(ran.stdout, "shop/good.py") == ["7", "7", "0", "100.0%", "5"]
    assert "->" not in ran.stdout


@pytest.mark.slow
def test_survivor_of_a_weak_test_is_named(shop: Path) -> None:
    ran = mutate(shop, "--files", "shop/weak.py")
    assert ran.returncode == 1
    assert row(ran.stdout, "shop/weak.py") == ["3", "2", "1", "66.7%", "0"]
    assert ran.stdout.endswith("shop/weak.py:2  return price * rate + 2  ->  return price * rate + 3\n")
    assert (shop / "shop/weak.py").read_text() == WEAK


@pytest.mark.slow
def test_tests_that_fail_unchanged_code_are_refused(shop: Path) -> None:
    (shop / "tests/red.py").write_text("def test_red():\n    assert 1 == 2\n")
    ran = mutate(shop, "--files", "shop/weak.py", "--tests", "tests/red.py")
    assert ran.returncode == 1
    assert "make them green first" in ran.stderr
    assert "assert 1 == 2" in ran.stdout
