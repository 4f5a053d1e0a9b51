"""What the caller can fix. Each message says what, where and the next step; the command line prints it bare.

FfeError
├── ConfigError          ffe.toml, the environment or an argument is wrong
├── DataError
│   ├── BadBars          bars that cannot be true: the row and the reason
│   ├── MissingBars      bars that are needed and not there
│   └── UnknownSymbol    nothing is known of this instrument
├── StrategyError        a strategy that cannot be loaded, raises, or returns what it may not
│   └── LookAhead        a decision that changes when the future is taken away
└── RecordError
    ├── NotWritable      a folder or file that cannot be written
    └── Tampered         a record that is not what was written: file and line

What a market decided is not an error: a refused trade is a value.
"""

from __future__ import annotations

import sysconfig
from traceback import extract_tb

NOT_THEIRS = (  # where a caller's own code does not stand
    __file__.removesuffix("errors.py"),
    sysconfig.get_path("stdlib"),
    sysconfig.get_path("purelib"),
    "<frozen",
)


class FfeError(Exception):
    """The root of everything a caller can fix."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows of it: the sentence, and the caller's own line instead of all of ours."""
        own = [f for f in extract_tb(self.__traceback__) if not f.filename.startswith(NOT_THEIRS) and f.line]
        line = [f"    {own[-1].line}"] if own else []
        return [*line, f"{type(self).__name__}: {self}"]


class ConfigError(FfeError):
    pass


class DataError(FfeError):
    pass


class BadBars(DataError):
    pass


class MissingBars(DataError):
    pass


class UnknownSymbol(DataError):
    pass


class StrategyError(FfeError):
    pass


class LookAhead(StrategyError):
    pass


class RecordError(FfeError):
    pass


class NotWritable(RecordError):
    pass


class Tampered(RecordError):
    pass
