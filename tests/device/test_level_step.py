"""Levels that step and last are heard; clicks, pauses in speech and slow changes are not."""

from pathlib import Path

import numpy as np
import pytest

from device import bundle
from device.enhancer import StreamEnhancer
from device.level_step import FIRST, MEMORY, RISE, LevelStep
from device.samples import Array
from tests import bundles
from tests.device.test_enhancer import make_ahead

HOP = 256


def hops(*parts: tuple[int, float]) -> list[Array]:
    """Noise: so many hops of so many dBFS, one part after the other."""
    random = np.random.default_rng(0)
    return [
        (random.standard_normal(HOP) * 10 ** (decibels / 20)).astype(np.float32)
        for count, decibels in parts
        for _ in range(count)
    ]


def steps(*parts: tuple[int, float]) -> list[int]:
    watch = LevelStep()
    return [index for index, hop in enumerate(hops(*parts)) if watch.heard(hop)]


def test_a_steady_level_has_none() -> None:
    assert steps((3 * MEMORY, -30)) == []
    assert steps((3 * MEMORY, -100)) == []


@pytest.mark.parametrize("before", [MEMORY // 4, MEMORY, 3 * MEMORY])
def test_a_louder_room_is_heard_once_and_soon(before: int) -> None:
    (step,) = steps((before, -60), (2 * MEMORY, -26))
    assert before < step < before + 2 * RISE


def test_a_rise_of_twenty_decibels_is_one_and_of_ten_is_none() -> None:
    (step,) = steps((MEMORY, -46), (2 * MEMORY, -26))
    assert MEMORY < step <= MEMORY + 19
    (step,) = steps((MEMORY, -60), (2 * MEMORY, -26))
    assert MEMORY < step <= MEMORY + 8
    assert steps((MEMORY, -36), (2 * MEMORY, -26)) == []


def test_a_quieter_room_is_none_until_it_was_quiet_for_long() -> None:
    assert steps((MEMORY, -6), (2 * MEMORY, -60)) == []
    (step,) = steps((MEMORY, -26), (2 * MEMORY, -60), (60, -26))
    assert step > 3 * MEMORY
    assert steps((FIRST // 2, -75), (MEMORY, -26)) == []  # a recording's lead-in


@pytest.mark.parametrize("floor", [-46.0, -60.0, -100.0])
@pytest.mark.parametrize(("word", "pause"), [(60, 20), (120, 62), (20, 47), (120, 240)])
def test_speech_with_pauses_has_no_steps(word: int, pause: int, floor: float) -> None:
    """Clean speech, which a model that starts anew would spoil; words differ by some decibels."""
    levels = np.random.default_rng(1).uniform(-30, -22, 20)
    speech = [part for level in levels for part in ((word, float(level)), (pause, floor))]
    assert steps((2 * FIRST, -26), *speech) == []


def test_clicks_and_slow_changes_are_no_steps() -> None:
    assert steps((MEMORY, -50), (4, -10), (MEMORY, -50)) == []
    assert steps(*((20, float(level)) for level in np.linspace(-60, -20, 60))) == []


def test_the_model_starts_anew_where_the_room_is_another_one(tmp_path: Path) -> None:
    """Its state is that of a stream that began there; no gap, and only where it is wanted."""
    loaded = bundle.load(bundles.make_enhancer(tmp_path / "echo", gain=0.25, echo=0.5))
    stream, same = StreamEnhancer(loaded), StreamEnhancer(loaded, anew=False)
    hop = stream.hop
    before, after = MEMORY, 60
    random = np.random.default_rng(0)
    level = np.repeat([0.001, 0.05], [before * hop, after * hop])
    sound = (random.standard_normal(len(level)) * level).astype(np.float32)
    steps, first = [], 0
    for index in range(before + after):
        stream.process(sound[index * hop : (index + 1) * hop])
        if stream.level_steps and not first:
            first = index
        steps.append(stream.level_steps)
    assert before < first < before + 2 * RISE and steps[-1] == 1
    whole = stream.enhance(sound)
    fresh = StreamEnhancer(loaded)
    fresh.process(sound[(first - 1) * hop : first * hop], bypass=True)  # the model hears no more
    late = fresh.process(sound[first * hop :])
    lag = stream.delay
    expected = whole[first * hop : first * hop + len(late) - lag]
    np.testing.assert_allclose(late[lag + hop :], expected[hop:], atol=1e-7)
    assert not np.allclose(same.enhance(sound), whole, atol=1e-5)
    assert same.level_steps == 0


def test_no_noise_comes_through_between_two_lives(tmp_path: Path) -> None:
    """The frames a look-ahead does not hear keep the newest mask: here one that lets nothing by."""
    stream = StreamEnhancer(bundle.load(make_ahead(tmp_path / "mute", bundles.Mask(0.0, 0.0))))
    sound = np.concatenate(hops((MEMORY, -60), (60, -20)))
    sound = sound[: len(sound) // stream.hop * stream.hop]
    result = stream.process(sound)
    assert stream.level_steps
    assert not result[stream.delay + 4 * stream.hop :].any()


def test_a_new_stream_has_no_level_yet() -> None:
    watch = LevelStep()
    for hop in hops((MEMORY, -60)):
        watch.heard(hop)
    watch.reset()
    assert not any(watch.heard(hop) for hop in hops((MEMORY, -20)))
