"""What single exchanges say of the requests that are left: half of them belongs to orders."""

from __future__ import annotations

import ccxt
import pytest

from ffe.model import MINUTE, SECOND
from ffe.wire.errors import Busy
from ffe.wire.exchanges import MILLI, Budget, exchange_of

NINE = 1_707_123_600 * SECOND  # a whole minute


class Clocked(ccxt.binance):
    now = NINE

    def milliseconds(self) -> int:
        return self.now // MILLI


def budget(used: str | None) -> tuple[Budget, Clocked]:
    client = Clocked()
    client.last_response_headers = {} if used is None else {"X-MBX-USED-WEIGHT-1M": used}
    made = Budget(client)
    made.note()
    return made, client


@pytest.mark.parametrize("used", [None, "0", "2999", "nonsense"])
def test_less_than_half_of_the_budget_holds_up_no_question(used: str | None) -> None:
    budget(used)[0].check()


@pytest.mark.parametrize("used", ["3000", "6000"])
def test_half_of_the_budget_holds_up_questions_until_the_next_minute(used: str) -> None:
    made, client = budget(used)
    client.now = NINE + 40 * SECOND
    with pytest.raises(Busy) as held:
        made.check()
    assert held.value.wait == 20 * SECOND
    client.now = NINE + MINUTE
    made.check()


def test_share_of_another_exchange_is_not_known_and_holds_up_nothing() -> None:
    assert exchange_of(ccxt.kraken()).used_share(ccxt.kraken()) == 0.0
