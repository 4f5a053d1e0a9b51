"""Finance Feedback Engine: one engine core for backtests and live sessions.

This is the whole public door, loaded lazily.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pydantic import Field as Field

    from ffe.brokers.sim import Deposit as Deposit
    from ffe.brokers.sim import SimBroker as SimBroker
    from ffe.config import Settings as Settings
    from ffe.config import load_settings as load_settings
    from ffe.data.barset import BarSet as BarSet
    from ffe.data.barset import Series as Series
    from ffe.errors import FfeError as FfeError
    from ffe.feeds.synthetic import synthetic as synthetic
    from ffe.model import Act as Act
    from ffe.model import Bar as Bar
    from ffe.model import Bars as Bars
    from ffe.model import Command as Command
    from ffe.model import Filled as Filled
    from ffe.model import Holding as Holding
    from ffe.model import Instrument as Instrument
    from ffe.model import Side as Side
    from ffe.model import Signal as Signal
    from ffe.research.backtest import backtest as backtest
    from ffe.research.load import load_bars as load_bars
    from ffe.research.result import Result as Result
    from ffe.strategy import Columns as Columns
    from ffe.strategy import Signals as Signals
    from ffe.strategy import Strategy as Strategy
    from ffe.strategy import View as View

_HOMES = {
    "backtest": "ffe.research.backtest",  # run a strategy over bars through the whole core
    "load_bars": "ffe.research.load",  # bars from the cache, a file, a DataFrame or the samples
    "Result": "ffe.research.result",  # what a backtest returns
    "Strategy": "ffe.strategy",  # the base of every strategy
    "Field": "pydantic",  # a strategy's parameter with its bounds
    "Columns": "ffe.strategy",  # bars as wide frames, as `signals` gets them
    "Signals": "ffe.strategy",  # decisions over columns
    "View": "ffe.strategy",  # what `on_event` sees
    "Bar": "ffe.model",  # one bar, as `on_event` sees it
    "Bars": "ffe.model",  # the event of all bars that close at one instant
    "Filled": "ffe.model",  # the event of a part of an order that traded
    "Signal": "ffe.model",  # one decision
    "Side": "ffe.model",  # LONG, SHORT, FLAT
    "Settings": "ffe.config",  # every number a run depends on
    "load_settings": "ffe.config",  # settings of ffe.toml and the environment
    "Instrument": "ffe.model",  # one tradable thing on one venue
    "Holding": "ffe.model",  # a position that was there before
    "Command": "ffe.model",  # what an operator wants
    "Act": "ffe.model",  # the commands there are
    "BarSet": "ffe.data.barset",  # bars as columns
    "Series": "ffe.data.barset",  # the bars of one instrument and interval
    "synthetic": "ffe.feeds.synthetic",  # a seeded market
    "SimBroker": "ffe.brokers.sim",  # the simulated venue
    "Deposit": "ffe.brokers.sim",  # money that comes or goes during a simulation
    "FfeError": "ffe.errors",  # the root of everything a caller can fix
}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'ffe' has no attribute {name!r}; it has {', '.join(_HOMES)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
