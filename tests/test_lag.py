"""How late a loop is, on a clock of our own, and how seldom an idle one is woken for that."""

from __future__ import annotations

from clock import Clock

from redbarrel_lite.lag import BUSY_S, IDLE_S, Lag


class Watched:
    """A lag, its clock, and the work that there is."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.work = 0
        self.looks: list[float] = []
        self.lag = Lag(lambda: self.work, self.looks.append)
        self.lag.start(self.clock.as_loop())

    def after(self, seconds: float) -> int:
        """So many looks were taken in that time."""
        before = len(self.looks)
        self.clock.advance(seconds)
        return len(self.looks) - before


def test_loop_is_looked_at_four_times_a_second_while_there_is_work() -> None:
    watched = Watched()
    for _ in range(8):
        watched.work += 1
        assert watched.after(BUSY_S) == 1
    assert watched.lag.took.counts[0] == 8


def test_idle_loop_is_left_alone_for_longer_and_longer() -> None:
    watched = Watched()
    watched.after(60)
    assert watched.after(600) == 600 / IDLE_S
    watched.work += 1
    while not watched.after(BUSY_S):  # until it notices
        pass
    assert watched.after(BUSY_S) == 1


def test_late_timer_is_told_how_late_it_was() -> None:
    watched = Watched()
    watched.clock._now += BUSY_S + 0.3  # the loop was held
    watched.after(0)
    assert sum(watched.lag.took.counts) == 1
    assert 0.29 < watched.lag.took.sum < 0.31


def test_lag_that_has_stopped_wakes_nobody() -> None:
    watched = Watched()
    watched.lag.stop()
    assert watched.after(600) == 0


def test_second_start_is_none() -> None:
    watched = Watched()
    watched.lag.start(watched.clock.as_loop())
    assert watched.after(BUSY_S) == 1
