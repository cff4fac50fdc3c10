"""What the streaming enhancer takes, what it refuses in one line, what may change on the way."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device import bundle
from device.enhancer import StreamEnhancer
from device.errors import BadInputError
from tests import bundles
from tests.device.test_enhancer import HOP, noise


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> StreamEnhancer:
    folder = bundles.make_enhancer(tmp_path_factory.mktemp("made") / "echo", gain=0.3, echo=0.5)
    return StreamEnhancer(bundle.load(folder))


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.ones(9, np.int16), "samples are int16: give float32"),
        (np.ones(9, bool), "samples are bool"),
        (np.ones(9, np.complex64), "samples are complex64"),
        (np.ones((9, 2), np.float32), r"shape \(9, 2\): give one channel"),
        (np.ones((9, 1), np.float32), r"shape \(9, 1\)"),
        (np.float32(1), r"shape \(\)"),
    ],
)
def test_other_samples_are_refused(echo: StreamEnhancer, samples: Any, reason: str) -> None:
    for take in (echo.process, echo.enhance):
        with pytest.raises(BadInputError, match=reason):
            take(samples)
    assert len(echo.flush()) == echo.delay  # nothing of them was taken


def test_float64_is_heard_as_float32(echo: StreamEnhancer) -> None:
    samples = noise(3000).astype(np.float64)
    result = echo.enhance(samples)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, echo.enhance(samples.astype(np.float32)))
    samples[5] = 1e300  # no float32
    assert np.isfinite(echo.enhance(samples)).all()


def test_another_rate_is_refused(echo: StreamEnhancer) -> None:
    samples = noise(2 * HOP)
    assert len(echo.process(samples, 16_000)) == 2 * HOP
    with pytest.raises(BadInputError, match="sound at 48000 Hz: the model hears 16000 Hz"):
        echo.process(samples, 48_000)
    assert len(echo.enhance(samples, rate=16_000)) == 2 * HOP


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("wet", (-1, 2, float("nan"), None, "1")),
        ("max_attenuation", (-20, float("nan"), float("-inf"), "6")),
    ],
)
def test_impossible_settings_are_refused(enhancer: Path, name: str, values: list[Any]) -> None:
    model = bundle.load(enhancer)
    stream = StreamEnhancer(model)
    before = getattr(stream, name)
    for value in values:
        with pytest.raises(BadInputError, match=name):
            StreamEnhancer(model, **{name: value})
        with pytest.raises(BadInputError, match=name):
            setattr(stream, name, value)
    assert getattr(stream, name) == before


@pytest.mark.parametrize(
    ("change", "gain"),
    [
        (lambda stream: setattr(stream, "wet", 0.25), 0.75),
        (lambda stream: setattr(stream, "max_attenuation", 20), 0.1),
    ],
)
def test_settings_change_within_a_stream(
    tmp_path: Path, change: Callable[[StreamEnhancer], None], gain: float
) -> None:
    stream = StreamEnhancer(bundle.load(bundles.make_enhancer(tmp_path / "mute", gain=0.0)))
    samples = noise(8 * HOP)
    first = stream.process(samples[: 4 * HOP])
    change(stream)
    result = np.concatenate((first, stream.process(samples[4 * HOP :])))[stream.delay :]
    np.testing.assert_allclose(result[: 3 * HOP], 0, atol=1e-6)
    np.testing.assert_allclose(result[4 * HOP :], gain * samples[4 * HOP : -HOP], atol=1e-6)


def test_a_model_that_was_not_wanted_starts_anew(echo: StreamEnhancer) -> None:
    """As after a bypass: its states are of sound long ago."""
    samples = noise(9 * HOP)
    results = []
    for dry in ({"wet": 0.0}, {"bypass": True}):
        echo.reset()
        echo.process(samples[: 3 * HOP])
        echo.wet = dry.get("wet", 1.0)
        echo.process(samples[3 * HOP : 6 * HOP], bypass="bypass" in dry)
        echo.wet = 1.0
        results.append(echo.process(samples[6 * HOP :]))
    np.testing.assert_array_equal(*results)


def test_a_classifier_is_refused(classifier: Path) -> None:
    with pytest.raises(BadInputError, match="not a speech enhancer: its task is classify"):
        StreamEnhancer(bundle.load(classifier))


def test_a_front_end_that_does_not_fit_is_refused(enhancer: Path) -> None:
    old = bundle.read(enhancer).manifest.preprocessing
    for change, reason in [
        ({"n_fft": 1024}, r"tensor frame is \(1, 257\)"),
        ({"hop": 100}, "multiple of 2·hop"),
    ]:
        bundles.rewrite_manifest(enhancer, preprocessing=old.model_copy(update=change))
        with pytest.raises(BadInputError, match=reason):
            StreamEnhancer(bundle.load(enhancer))
