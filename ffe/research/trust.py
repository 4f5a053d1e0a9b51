"""The strategy that a record names: run again only by the user's word, and only if it is the code that ran then.

A record is a file, and files come from anywhere. What it names is not imported before its hash is what the record says;
that it may run at all follows from the record's head, kept when it was made here, or from `--strategy`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ffe.errors import RecordError
from ffe.records.kept import kept
from ffe.records.reader import journal_hashes
from ffe.research.code import versions
from ffe.research.find import code_named, strategy_of
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
    if given is None and not _is_own(said):
        raise RecordError(
            f"{said.records} was not made here, as far as is known: to run it again is to run the code that it names. "
            f"Look at that code, and say where it is: ffe replay {said.records} --strategy {said.source}"
        )
    reference = given or said.source
    if not other_code:
        _refuse_other_code(said, reference)
    return strategy_of(reference)


def _is_own(said: Said) -> bool:
    """Whether a head of it was kept when it was made, and nothing in it was written anew. What lies among the records
    came with them."""
    place = Path(said.source.rpartition(":")[0])
    if place.suffix == ".py" and place.resolve().is_relative_to(said.records.resolve()):
        return False
    heads = kept(said.records, [said.session])
    return bool(heads) and set(heads) <= set(journal_hashes(said.records))


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
