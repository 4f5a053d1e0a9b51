"""Whoever forges records: changes what they say, and mends every hash of every line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ffe.records.chain import ORIGIN
from ffe.records.encode import canonical, digest, utf8
from ffe.session import Session, session_id

Object = dict[str, Any]


def text(value: object) -> bytes:
    return utf8(canonical(value))  # type: ignore[arg-type]


@dataclass
class Forged:
    """Records as values. days are the journal's lines by file, decisions stand by their id."""

    days: dict[str, list[Object]]
    decisions: dict[str, Object]
    equity: np.ndarray = field(default_factory=lambda: np.empty(0))

    @property
    def lines(self) -> list[Object]:
        return [line for lines in self.days.values() for line in lines]

    @property
    def head(self) -> Object:
        return next(line["body"] for line in self.lines if line["kind"] == "head")

    def of(self, kind: str) -> list[Object]:
        return [line["body"] for line in self.lines if line["kind"] == kind]

    def steps(self) -> list[Object]:
        """Those that decide something."""
        return [body for body in self.of("step") if body["decisions"]]

    def cut(self, is_cut: Callable[[Object], bool]) -> None:
        """Take lines out, with the decisions that they name."""
        for name, lines in self.days.items():
            self.days[name] = [line for line in lines if not is_cut(line)]
        named = {row["id"] for body in self.of("step") for row in body["decisions"]}
        self.decisions = {id: decision for id, decision in self.decisions.items() if id in named}

    def renamed(self, session: str | None = None) -> str:
        """Take the session's name that follows from what it now says, or another; and the ids that follow from it."""
        head = self.head
        name = session or session_id(head["code"], head["data"], canonical(head["head"]))
        head["session"] = name
        for body in self.of("checkpoint"):
            body |= {"session": name, "head": head["head"]}
        ids = {id: Session(name, 0).decision(decision["sequence"]) for id, decision in self.decisions.items()}
        for body in self.of("step"):
            body["decisions"] = [{**row, "id": ids[row["id"]]} for row in body["decisions"]]
        self.decisions = {
            ids[id]: {**decision, "id": ids[id], "session": name} for id, decision in self.decisions.items()
        }
        return name

    def chained(self) -> dict[str, bytes]:
        """Each file of the journal, whose lines vouch for one another."""
        hashes = {id: digest(text(decision)) for id, decision in self.decisions.items()}
        prev, files = ORIGIN, {}
        for name, lines in self.days.items():
            done = []
            for n, line in enumerate(lines, 1):
                for row in line["body"].get("decisions", []) if line["kind"] == "step" else []:
                    row["sha256"] = hashes.get(row["id"], row["sha256"])
                if line["kind"] == "end" and "lines" in line["body"]:
                    line["body"].update(self.ended(len(lines)))
                    line["bars"] = len(self.equity)
                done.append(text({**line, "n": n, "prev": prev}))
                prev = digest(done[-1])
            files[name] = b"".join(each + b"\n" for each in done)
        return files

    def recorded(self) -> bytes:
        return b"".join(text(decision) + b"\n" for decision in self.decisions.values())

    def curve(self) -> bytes:
        file = BytesIO()
        np.save(file, self.equity, allow_pickle=False)
        return file.getvalue()

    def ended(self, lines: int) -> Object:
        hashes = {"decisions_sha256": digest(self.recorded()), "equity_sha256": digest(self.curve())}
        return {**hashes, "decisions": len(self.decisions), "lines": lines}


# ---------------------------------------------------------------- a run


def read_run(folder: Path) -> Forged:
    lines = [json.loads(line) for line in (folder / "journal.jsonl").read_bytes().splitlines()]
    decisions = [json.loads(line) for line in (folder / "decisions.jsonl").read_bytes().splitlines()]
    equity = np.load(folder / "equity.npy", allow_pickle=False)
    return Forged({"journal.jsonl": lines}, {each["id"]: each for each in decisions}, equity)


def write_run(folder: Path, forged: Forged) -> None:
    folder.mkdir(exist_ok=True)
    files = forged.chained() | {"decisions.jsonl": forged.recorded(), "equity.npy": forged.curve()}
    for name, data in files.items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_bytes(data)


# ---------------------------------------------------------------- a live root


def read_live(root: Path) -> Forged:
    days = {
        path.name: [json.loads(line) for line in path.read_bytes().splitlines()]
        for path in sorted((root / "journal").iterdir())
    }
    decisions = [json.loads(path.read_bytes()) for path in sorted((root / "decisions").iterdir())]
    return Forged(days, {each["id"]: each for each in decisions})


def write_live(root: Path, forged: Forged) -> None:
    from ffe.records.journal import decision_file

    for place in ("journal", "decisions"):
        (root / place).mkdir(parents=True, exist_ok=True)
        for path in (root / place).iterdir():
            path.unlink()
    for name, data in forged.chained().items():
        (root / "journal" / name).write_bytes(data)
    for id, decision in forged.decisions.items():
        (root / "decisions" / decision_file(decision["time"], id)).write_bytes(text(decision))
