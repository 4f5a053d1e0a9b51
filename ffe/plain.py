"""Text of venues, strategies and files, shown and never obeyed: a terminal obeys control characters, and rich obeys
markup."""

from __future__ import annotations

from rich.markup import escape


def plain(text: str, keeps: str = "\n") -> str:
    """Whatever no person can see, written out: control characters, and those that turn the reading order."""
    return "".join(c if c.isprintable() or c in keeps else f"\\u{ord(c):04x}" for c in text)


def shown(text: object) -> str:
    """For rich: plain, with nothing in it that is markup."""
    return escape(plain(str(text), ""))
