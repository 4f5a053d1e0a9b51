"""What a person gives to a backtest, as what is meant by it; one sentence where that is not clear."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ffe.config import Settings, load_settings, settings_of
from ffe.data.barset import BarSet, Series
from ffe.data.quality import checked
from ffe.errors import ConfigError, DataError, StrategyError
from ffe.strategy import Strategy


def the_strategy(given: object) -> Strategy:
    if isinstance(given, Strategy):
        return given
    if isinstance(given, type) and issubclass(given, Strategy):
        raise StrategyError(f"{given.__name__} is a class: give a strategy of it, as in {given.__name__}().")
    raise StrategyError(
        f"A {type(given).__name__} is no strategy: give one of a class over ffe.Strategy, as MaCross()."
    )


def the_bars(given: object) -> BarSet:
    """A set, or series of it. Those that were made by hand pass the checks of those that were loaded."""
    series = (given,) if isinstance(given, Series) else given
    if not isinstance(series, BarSet | list | tuple) or not all(isinstance(s, Series) for s in series):
        what = f"a {type(given).__name__}"
        raise DataError(
            f"The bars are {what}: give a BarSet. What {what} is of it does not say: "
            "ffe.load_bars(it, '1h', symbol='BTC/USD')."
        )
    bars = series if isinstance(series, BarSet) else BarSet(tuple(series))
    for one in bars:
        checked(one)
    return bars


def the_settings(given: object) -> Settings:
    if given is None:
        return load_settings()
    if isinstance(given, Settings):
        return given
    if isinstance(given, str | Path):
        return load_settings(Path(given))
    if isinstance(given, Mapping):
        return settings_of({**given})
    raise ConfigError(f"The config is a {type(given).__name__}: give ffe.load_settings(), a path or a dictionary.")
