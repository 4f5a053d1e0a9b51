"""What every command line of ours does alike: a mistake of the caller's is one message, a parameter is name=value."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Optional

import typer

from ffe.errors import ConfigError, FfeError
from ffe.plain import plain

ConfigOption = Annotated[Optional[Path], typer.Option("--config", help="Settings file; ffe.toml where there is one.")]  # noqa: UP045


@contextmanager
def told() -> Iterator[None]:
    """Turn what a caller can fix into one message on stderr."""
    try:
        yield
    except FfeError as error:
        from rich.console import Console

        Console(stderr=True, soft_wrap=True).print(f"[bold red]{type(error).__name__}[/]: ", end="")
        typer.echo(plain(str(error)), err=True)
        raise SystemExit(1) from None


def parameters(given: list[str], option: str = "--set") -> dict[str, str]:
    wrong = [item for item in given if "=" not in item]
    if wrong:
        raise ConfigError(f"{option} {wrong[0]}: write it as name=value, as in --set fast=20.")
    return dict(item.split("=", 1) for item in given)
