"""What a record names is run again by the user's word alone, and only if it is the code that ran."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import ffe
from ffe.data.cache import Cache
from ffe.errors import FfeError, RecordError
from ffe.records import kept
from ffe.records.encode import digest
from ffe.records.verify import verify
from ffe.research import trust
from ffe.research.find import code_named, strategy_of
from ffe.research.rerun import plan_of, rerun
from tests.parity.test_wake import coins
from tests.records.forging import read_run, text, write_run
from tests.research.test_code import written

pytestmark = pytest.mark.slow

EVIL = """
open("ran", "w").close()
from strategies.ma_cross import MaCross


class Evil(MaCross):
    pass
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    bars = coins(bars=600)
    for series in bars:
        Cache(Path("data/backtest_cache.duckdb")).put(series)
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Path:
    return ffe.backtest(strategy_of(f"{written()}:Idea")(), coins(bars=600), ffe.load_settings()).folder


def replayed(run: Path, other_code: bool = False, strategy: str | None = None) -> object:
    return rerun(run, plan_of(run, Path("data"), other_code, strategy), other_code)


def made_elsewhere(run: Path) -> Path:
    """A run whose head was kept by somebody else."""
    place = Path("from-a-stranger") / run.name
    shutil.copytree(run, place)
    for path in (kept.state_folder() / "heads").iterdir():
        path.unlink()
    return place


def test_run_that_was_made_here_is_run_again_unasked(run: Path) -> None:
    assert replayed(run) is None


def test_run_of_a_stranger_is_not_run_without_a_word(run: Path) -> None:
    place = made_elsewhere(run)
    with pytest.raises(RecordError, match=r"to run the code that it names.*--strategy idea\.py:Idea"):
        replayed(place)
    assert replayed(place, strategy="idea.py:Idea") is None


@pytest.mark.parametrize("name", ["{run}/evil.py:Evil", "{run}/.py:Evil", "{module}.evil:Evil"])
def test_strategy_that_lies_among_the_records_is_never_taken_from_there_unasked(run: Path, name: str) -> None:
    """`verify` said "intact", and `replay` ran the code. Here even the head of the forgery is kept."""
    module = ".".join(run.resolve().relative_to(Path.cwd().resolve()).parts)
    for file in ("evil.py", ".py"):
        (run / file).write_text(EVIL)
    run.chmod(0o700)
    forged = read_run(run)
    forged.head["head"]["source"] = name.format(run=run, module=module)
    forged.renamed()
    write_run(run, forged)
    kept.keep(run, forged.head["session"], verify(run).head)
    for other_code in (False, True):
        with pytest.raises(RecordError, match="names code that lies among its own records"):
            replayed(run, other_code)
    assert not Path("ran").exists()


def test_forged_run_is_no_run_of_ours_though_its_folder_is(run: Path) -> None:
    Path("evil.py").write_text(EVIL)
    forged = read_run(run)
    forged.head["head"]["source"] = "evil.py:Evil"
    forged.renamed()
    write_run(run, forged)
    with pytest.raises(RecordError, match="is not what was written here"):
        replayed(run)
    with pytest.raises(RecordError, match="was run by other code"):
        replayed(run, strategy="evil.py:Evil")
    assert not Path("ran").exists()


def test_run_whose_beginning_was_forged_is_none_of_ours_though_its_end_is(run: Path) -> None:
    """The head that was kept is the end's: the lines between vouched for nothing, and the forger's code ran."""
    Path("evil.py").write_text(EVIL)
    lines = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
    first, second = json.loads(lines[0]), json.loads(lines[1])
    first["body"]["head"] |= {"source": "evil.py:Evil", "source_sha256": code_named("evil.py:Evil")}
    lines[0] = text(first) + b"\n"
    lines[1] = text({**second, "prev": digest(text(first))}) + b"\n"
    (run / "journal.jsonl").chmod(0o600)
    (run / "journal.jsonl").write_bytes(b"".join(lines))
    with pytest.raises(RecordError, match="is not what was written here"):
        replayed(run)
    assert not Path("ran").exists()


@pytest.mark.parametrize("config", ["5", "[", "[" * 5_000, '{"_env_file": "secrets"}', '{"gate": 5}'])
def test_run_whose_settings_are_none_is_told(run: Path, config: str) -> None:
    forged = read_run(run)
    forged.head["head"]["config"] = config
    write_run(run, forged)
    with pytest.raises(RecordError, match="settings are not this version's"):
        replayed(run, strategy="idea.py:Idea")


@pytest.mark.parametrize("name", ["journal.jsonl", "decisions.jsonl"])
def test_run_with_bytes_that_are_no_text_is_told(run: Path, name: str) -> None:
    data = (run / name).read_bytes()
    (run / name).chmod(0o600)
    (run / name).write_bytes(data + b"\xff\n")
    with suppress(FfeError):
        assert replayed(run, strategy="idea.py:Idea") is not None


@pytest.mark.parametrize("kind", ["pipe", "objects"])
def test_run_whose_curve_is_none_is_told(run: Path, kind: str) -> None:
    """A pipe was waited for."""
    (run / "equity.npy").unlink()
    if kind == "pipe":
        os.mkfifo(run / "equity.npy")
    else:
        head = b"{'descr': '|O', 'fortran_order': False, 'shape': (3,), }\n"
        (run / "equity.npy").write_bytes(np.lib.format.magic(1, 0) + len(head).to_bytes(2, "little") + head)
    with pytest.raises(RecordError, match="no curve of times and equity"):
        replayed(run, strategy="idea.py:Idea")


def test_edited_strategy_is_told_before_it_is_loaded(run: Path) -> None:
    path = written(window=7)
    path.write_text(path.read_text() + "\nopen('ran', 'w').close()\n")
    with pytest.raises(RecordError, match=r"was run by other code than idea\.py:Idea holds now"):
        replayed(run)
    assert not Path("ran").exists()
    assert replayed(run, other_code=True) is not None, "the edit decides otherwise"


def test_strategy_under_another_name_gives_the_same_bytes(run: Path) -> None:
    """The record keeps the name that it was run by."""
    Path("moved").mkdir()
    shutil.move("idea.py", "moved/idea.py")
    with pytest.raises(RecordError, match=r"there is no idea\.py:Idea here"):
        replayed(run)
    assert replayed(run, strategy="moved/idea.py:Idea") is None


def test_other_versions_are_told_by_name(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "versions", lambda: {**json.loads(json.dumps(ffe_versions())), "numpy": "0.1"})
    with pytest.raises(RecordError, match=r"numpy [\d.]+, here 0\.1\. Replay it with those versions"):
        replayed(run)


def ffe_versions() -> dict[str, str]:
    from ffe.research.code import versions

    return versions()
