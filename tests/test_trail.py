"""What was in the last minutes, from points that were kept when somebody came by."""

from __future__ import annotations

import pytest

from redbarrel_lite.trail import STEP_S, STEPS, Trail


class Walk:
    """A trail of one number, and the times at which it was read."""

    def __init__(self) -> None:
        self.number = 0.0
        self.trail = Trail(lambda: (self.number,))

    def speeds(self, now: float) -> list[float]:
        (speeds,) = self.trail.speeds(now)
        assert len(speeds) == STEPS
        return speeds


def test_speed_is_how_much_it_grew_a_second() -> None:
    walk = Walk()
    walk.trail.look(100)
    walk.number = 20
    assert walk.speeds(100 + STEP_S)[-1] == pytest.approx(20 / STEP_S)
    assert walk.speeds(100 + STEP_S)[-2] == 0


def test_steady_growth_is_one_speed_however_seldom_it_was_looked_at() -> None:
    walk = Walk()
    for now in (0, 3, 100, 250, 299):
        walk.number = 2.0 * now
        walk.trail.look(now)
    walk.number = 600
    assert walk.speeds(300) == pytest.approx([2.0] * STEPS)


def test_before_the_first_look_nothing_was() -> None:
    walk = Walk()
    walk.number = 50
    assert walk.speeds(7) == [0] * STEPS


def test_looks_that_come_too_soon_are_not_kept() -> None:
    walk = Walk()
    for tick in range(4 * 3600):
        walk.trail.look(tick / 4)
    assert len(walk.trail._points) == STEPS + 2
    oldest = walk.trail._points[0][0]
    assert 3600 - oldest >= STEP_S * STEPS


def test_each_number_has_its_own_speeds() -> None:
    trail = Trail(lambda: (1.0, 2.0, 3.0))
    assert [len(speeds) for speeds in trail.speeds(10)] == [STEPS] * 3
