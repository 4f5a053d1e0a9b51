"""What became of each provider's trades, and what its confidence was worth: the feedback in the name.

Calibration is off by default. On, confidence becomes clip(round(raw + 100 (posterior mean win rate - break-even
rate)), 0, 100): the win rate under a uniform prior (Beta(1 + wins, 1 + losses)), the rate at which the average win
pays for the average loss.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from ffe.model import Money, Outcome
from ffe.risk.limits import MemoryRules


@dataclass(slots=True)
class Record:
    wins: int = 0
    losses: int = 0
    won: Money = 0.0
    lost: Money = 0.0

    def add(self, pnl: Money) -> None:
        if pnl > 0.0:
            self.wins, self.won = self.wins + 1, self.won + pnl
        else:
            self.losses, self.lost = self.losses + 1, self.lost - pnl

    @property
    def win_rate(self) -> float:
        """Posterior mean under a uniform prior."""
        return (1 + self.wins) / (2 + self.wins + self.losses)

    @property
    def break_even(self) -> float:
        """The win rate at which average win and average loss cancel; 1/2 while one of them is not known."""
        if not (self.wins and self.losses):
            return 0.5
        win, loss = self.won / self.wins, self.lost / self.losses
        return loss / (win + loss) if win + loss > 0.0 else 0.5


class Memory:
    def __init__(self, rules: MemoryRules) -> None:
        self.rules = rules
        self.records: defaultdict[str, Record] = defaultdict(Record)

    def save(self) -> tuple[tuple[str, int, int, Money, Money], ...]:
        """(provider, wins, losses, won, lost) of each provider."""
        return tuple((name, r.wins, r.losses, r.won, r.lost) for name, r in sorted(self.records.items()))

    def restore(self, saved: tuple[tuple[str, int, int, Money, Money], ...]) -> None:
        self.records.update({name: Record(wins, losses, won, lost) for name, wins, losses, won, lost in saved})

    def learn(self, outcome: Outcome) -> None:
        self.records[outcome.provider].add(outcome.pnl)

    def confidence(self, provider: str, raw: int) -> int:
        record = self.records[provider]
        if not self.rules.calibrate or record.wins + record.losses < self.rules.minimum_outcomes:
            return raw
        return min(100, max(0, round(raw + 100.0 * (record.win_rate - record.break_even))))
