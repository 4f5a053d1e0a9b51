"""The strategy that a record names: run again only by the user's word, and only if it is the code that ran then.

A record is a file, and files come from anywhere. What it names is not imported before its hash is what the record says;
that it may run at all follows from the record's head, kept when it was made here, or from `--strategy`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ffe.errors import RecordError
from ffe.records.kept import kept
from ffe.records.verify import is_journal_whole
from ffe.research.code import versions
from ffe.research.find import code_named, file_named, strategy_of
from ffe.strategy import Strategy


@dataclass(frozen=True, slots=True)
class Said:
    """What a record says of its strategy."""

    records: Path
    session: str
    source: str
    source_sha256: str
    versions: dict[str, str]


def strategy_said(said: Said, given: str | None = None, other_code: bool = False) -> type[Strategy]:
    """given is where the user says that the strategy is. RecordError where it may not be run, or is other code."""
    if given is None and (why := _objection(said)):
        raise RecordError(
            f"{said.records} {why}: to run it again is to run the code that it names. Look at that code, and say where "
            f"it is: ffe replay {said.records} --strategy {said.source}"
        )
    reference = given or said.source
    if not other_code:
        _refuse_other_code(said, reference)
    return strategy_of(reference)


def _objection(said: Said) -> str:
    """Why what a record names is not run unasked: a head must have been kept when it was made, and its journal lead
    there from the first line. What lies among the records came with them."""
    file = file_named(said.source)
    if file is not None and file.resolve().is_relative_to(said.records.resolve()):
        return "names code that lies among its own records"
    heads = kept(said.records, [said.session])
    if not heads:
        return "was not made here, as far as is known"
    if not is_journal_whole(said.records, heads):
        return f"is not what was written here (ffe decisions verify --run {said.records} says where)"
    return ""


def _refuse_other_code(said: Said, reference: str) -> None:
    now = code_named(reference)
    if now is None:
        raise RecordError(f"{said.records}: there is no {reference} here. Say where it is: --strategy FILE.py:NAME")
    if now != said.source_sha256:
        raise RecordError(
            f"{said.records} was run by other code than {reference} holds now: its hash was {said.source_sha256[:12]}, "
            f"it is {now[:12]}. Name the code that ran it with --strategy, or compare all the same with --other-code."
        )
    then, here = said.versions, versions()
    if other := [
        f"{name} {then.get(name) or 'none'}, here {here[name] or 'none'}"
        for name in here
        if then.get(name) != here[name]
    ]:
        raise RecordError(
            f"{said.records} was run with {'; '.join(other)}. Replay it with those versions, or compare all the same "
            "with --other-code."
        )
