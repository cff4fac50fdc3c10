"""Lost blocks show as frames behind the clock; bursts, drift and silence do not count."""

import pytest

from device.frame_clock import FrameClock

RATE, BLOCK = 16_000, 320


def capture(
    clock: FrameClock, seconds: float, begin: float = 0, frames: int = 0, speed: float = 1
) -> tuple[float, int]:
    """Feed regular callbacks; the time and count afterwards."""
    for number in range(1, round(seconds * RATE / BLOCK) + 1):
        now = begin + number * BLOCK / RATE / speed
        clock.update(frames + number * BLOCK, now)
    return now, frames + number * BLOCK


def test_lost_blocks_are_found() -> None:
    clock = FrameClock(RATE)
    now, frames = capture(clock, 25)
    assert clock.lost == 0
    now, frames = capture(clock, 25, now + 0.5, frames)  # half a second never came
    assert clock.lost == pytest.approx(RATE // 2, abs=2)
    capture(clock, 60, now, frames)
    assert clock.lost == pytest.approx(RATE // 2, abs=2)  # once


def test_a_late_burst_is_not_a_loss() -> None:
    clock = FrameClock(RATE)
    now, frames = capture(clock, 13)
    frames += 3 * RATE  # three seconds of sound, three seconds late
    clock.update(frames, now + 3)
    capture(clock, 40, now + 3, frames)
    assert clock.lost == 0


@pytest.mark.parametrize("speed", [0.9995, 1.0005, 4.0])
def test_another_clock_is_not_a_loss(speed: float) -> None:
    clock = FrameClock(RATE)
    capture(clock, 600, speed=speed)
    assert clock.lost == 0


def test_a_new_capture_begins_anew() -> None:
    clock = FrameClock(RATE)
    now, frames = capture(clock, 25)
    clock.restart()
    capture(clock, 25, now + 3600, frames)
    assert clock.lost == 0
