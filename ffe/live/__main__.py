"""`python -m ffe.live STRATEGY --symbols …`: the supervisor of a session, in the foreground."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Annotated, Optional

import typer

from ffe.command import ConfigOption, parameters, told
from ffe.errors import ConfigError

log = logging.getLogger("ffe.live")
app = typer.Typer(add_completion=False)


@app.command()
def live(
    strategy: Annotated[str, typer.Argument(help="Where the strategy is, as in strategies/ma_cross.py:MaCross.")],
    symbols: Annotated[list[str], typer.Option("--symbols", "-s", help="Symbols, comma separated or repeated.")],
    interval: Annotated[str, typer.Option(help="The bars' interval: 1m, 15m, 1h, 1d.")] = "1h",
    set_: Annotated[Optional[list[str]], typer.Option("--set", help="A parameter, as in fast=20.")] = None,  # noqa: UP045
    sandbox: Annotated[bool, typer.Option("--sandbox", help="Connect to practice accounts and sandboxes.")] = False,
    real: Annotated[bool, typer.Option("--live", help="Trade real money; needs --arming.")] = False,
    arming: Annotated[Optional[Path], typer.Option(help="The file that `ffe arm` made.")] = None,  # noqa: UP045
    untested: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--untested", help="Trade at this exchange though the engine was not tested there; repeatable."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Trade a strategy at its venues, through the core that its backtests ran."""
    from ffe.config import handed_over, load_secrets, load_settings
    from ffe.hours import interval_of
    from ffe.live import account_check, preflight
    from ffe.live.accounts import reach_of
    from ffe.live.arming import check
    from ffe.live.child import Handed
    from ffe.live.connect import Armed, connectors
    from ffe.live.logs import log_to
    from ffe.live.supervisor import Supervisor
    from ffe.live.task import Task

    settings = load_settings(config)
    names = [name for item in symbols for name in item.split(",") if name]
    if real and sandbox:
        raise ConfigError("--live is real money and --sandbox is practice money: say one of them.")
    armed = Armed.LIVE if real else Armed.SANDBOX if sandbox else Armed.NOT
    length = interval_of(interval)
    secrets = load_secrets()
    found = connectors(settings, names, secrets, armed)
    reach = reach_of(settings, names, secrets, armed)
    account_check.refuse_untested(reach.connectors, untested or [])
    task = Task(
        strategy=strategy, parameters=parameters(set_ or []), symbols=names, interval=interval, settings=settings,
        armed=armed, held=sorted(map(str, reach.left.held())), accounts=[account.mark for account in reach.accounts],
    )  # fmt: skip
    signed = None
    if real:
        if arming is None:
            raise ConfigError("--live trades real money, and needs --arming FILE. Make one with `ffe arm`.")
        typed = {
            c.venue: typer.prompt(f"To trade real money at {c.venue}, the id of the account ({c.known_by})")
            for c in found
        }
        signed = check(arming, task, found, typed, time.time_ns())
    held = sorted(reach.left.held())
    warnings = account_check.check(reach.connectors, settings, names, length, held, typer.echo, time.time_ns)
    preflight.check(settings.data_folder)
    log_to()
    for warning in warnings:
        log.info("%s: %s", warning.venue, warning)
    handed = Handed(task, signed, handed_over(settings, secrets))
    raise typer.Exit(Supervisor(handed, settings, reach.accounts, typer.echo).run())


if __name__ == "__main__":
    with told():
        app()
