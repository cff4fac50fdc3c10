"""The streaming enhancer: aligned, independent of chunking, dry where the model fails."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from device import bundle
from device.enhancer import Array, StreamEnhancer
from device.manifest import StateSpec
from tests import bundles

HOP, N_FFT = 256, 512


class Carried(nn.Module):
    """mask = the mean of the frame before; the state is carried, not kept in rings."""

    def forward(self, frame: Tensor, delayed: Tensor) -> tuple[Tensor, Tensor]:
        return delayed + 0, frame.mean(-1, keepdim=True).expand(1, bundles.BINS) + 0


def noise(length: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, 0.1, length).astype(np.float32)


def in_pieces(enhancer: StreamEnhancer, samples: Array, cuts: list[int]) -> Array:
    pieces = np.split(samples, sorted(cuts))
    return np.concatenate([*(enhancer.process(p) for p in pieces), enhancer.flush()])


class Present(nn.Module):
    """mask = the feature of the present frame, which a look-ahead applies to an older one."""

    def forward(self, frame: Tensor, delayed: Tensor) -> tuple[Tensor, Tensor]:
        return frame + 0 * delayed, frame + 0


def make_ahead(folder: Path, net: nn.Module, frames: int = 2) -> Path:
    """A bundle whose model looks `frames` ahead."""
    made = bundles.make_enhancer(folder, net=net, golden=not isinstance(net, bundles.NotANumber))
    front = bundle.read(made).manifest.preprocessing
    bundles.rewrite_manifest(made, preprocessing=front.model_copy(update={"lookahead": frames}))
    return made


def slow(samples: Array, mask_of: Callable[[list[Any]], Any]) -> Array:
    """The formulas of the module's head in float64; `mask_of` sees all spectra up to now."""
    frames = -(-len(samples) // HOP) + 1
    padded = np.zeros((frames + 1) * HOP)
    padded[HOP : HOP + len(samples)] = samples
    window = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT))
    result, spectra = np.zeros_like(padded), []
    for t in range(frames):
        spectrum = np.fft.rfft(padded[t * HOP : t * HOP + N_FFT] * window)
        spectra.append(spectrum)
        result[t * HOP : t * HOP + N_FFT] += np.fft.irfft(spectrum * mask_of(spectra)) * window
    return result[HOP : HOP + len(samples)].astype(np.float32)


def test_a_mask_of_one_gives_the_input_back(enhancer: Path) -> None:
    samples = noise(10_000)
    stream = StreamEnhancer(bundle.load(enhancer))
    np.testing.assert_allclose(stream.enhance(samples), samples, atol=1e-6)
    lagging = in_pieces(stream, samples, [])
    assert (stream.delay, stream.latency, len(lagging)) == (256, 512, 10_256)
    np.testing.assert_allclose(lagging[256:], samples, atol=1e-6)
    np.testing.assert_allclose(lagging[:256], 0, atol=1e-6)


@pytest.mark.parametrize("length", [0, 1, 3, 255, 256, 257, 512, 1000])
def test_any_length_comes_out_whole(enhancer: Path, length: int) -> None:
    samples = noise(length)
    result = StreamEnhancer(bundle.load(enhancer)).enhance(samples)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, samples, atol=1e-6)


def test_state_and_mask_follow_the_formulas(tmp_path: Path) -> None:
    model = bundle.load(bundles.make_enhancer(tmp_path / "echo", gain=0.3, echo=0.5))
    samples = noise(4000)
    expected = slow(samples, lambda S: 0.3 + 0.5 * (np.abs(S[-3]) ** 0.5 if len(S) > 2 else 0))
    np.testing.assert_allclose(StreamEnhancer(model).enhance(samples), expected, atol=1e-5)


def test_a_state_without_rings_is_carried(tmp_path: Path) -> None:
    folder = bundles.make_enhancer(tmp_path / "carried", net=Carried())
    bundles.rewrite_manifest(folder, states=(StateSpec(input="delayed", output="newest"),))
    samples = noise(3000)
    expected = slow(samples, lambda S: (np.abs(S[-2]) ** 0.5).mean() if len(S) > 1 else 0)
    stream = StreamEnhancer(bundle.load(folder))
    for _ in range(2):  # the second time after the reset at the end of the first
        np.testing.assert_allclose(stream.enhance(samples), expected, atol=1e-5)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(length=st.integers(0, 3000), data=st.data())
def test_the_output_does_not_depend_on_the_chunks(
    echo: StreamEnhancer, length: int, data: st.DataObject
) -> None:
    samples = noise(length, seed=length)
    cuts = data.draw(st.lists(st.integers(0, length), max_size=12))
    expected = in_pieces(echo, samples, [])
    np.testing.assert_array_equal(in_pieces(echo, samples, cuts), expected)


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> StreamEnhancer:
    folder = bundles.make_enhancer(tmp_path_factory.mktemp("made") / "echo", gain=0.3, echo=0.5)
    return StreamEnhancer(bundle.load(folder))


def test_broken_samples_are_silence_and_counted(enhancer: Path) -> None:
    samples = noise(2000)
    broken = samples.copy()
    broken[[3, 700, 701, 1999]] = [np.nan, np.inf, -np.inf, 1e30]
    samples[[3, 700, 701, 1999]] = 0
    stream = StreamEnhancer(bundle.load(enhancer))
    np.testing.assert_allclose(stream.enhance(broken), samples, atol=1e-6)
    assert stream.bad_samples == 4


@pytest.mark.parametrize("lookahead", [0, 2])
def test_digital_silence_stops_the_models_time(tmp_path: Path, lookahead: int) -> None:
    """A muted microphone is no quiet room: what follows is heard as if it had not been muted."""
    folder = tmp_path / "echo"
    if lookahead:
        make_ahead(folder, bundles.Mask(0.3, 0.5))
    else:
        bundles.make_enhancer(folder, gain=0.3, echo=0.5)
    stream = StreamEnhancer(bundle.load(folder))
    before, after = noise(10 * HOP), noise(10 * HOP, seed=1)
    expected = stream.enhance(after)
    for hops in (1, 50):
        late = stream.enhance(np.concatenate((np.zeros(hops * HOP, np.float32), after)))
        np.testing.assert_array_equal(late[hops * HOP :], expected)
    short, long = (
        stream.enhance(np.concatenate((before, np.zeros(hops * HOP, np.float32), after)))
        for hops in (5 + lookahead, 50)
    )
    np.testing.assert_array_equal(short[-len(after) :], long[-len(after) :])
    if not lookahead:  # with one the model hears as much silence as this state is long
        assert not np.array_equal(long[-len(after) :], expected), "it remembers what was before"


def test_a_model_that_returns_nan_is_passed_dry_and_counted(tmp_path: Path) -> None:
    model = bundle.Model(bundle.read(bundles.make_nan_enhancer(tmp_path / "nan")))
    stream = StreamEnhancer(model)
    samples = noise(2048)
    np.testing.assert_allclose(stream.enhance(samples), samples, atol=1e-6)
    assert stream.bad_frames == stream.frames == 9


def test_bypass_is_dry_in_time_and_the_model_starts_anew(tmp_path: Path) -> None:
    folder = bundles.make_enhancer(tmp_path / "echo", gain=0.25, echo=0.5)
    stream, fresh = StreamEnhancer(bundle.load(folder)), StreamEnhancer(bundle.load(folder))
    samples = noise(8 * HOP)
    result = np.concatenate(
        [
            stream.process(samples[: 2 * HOP]),
            stream.process(samples[2 * HOP : 6 * HOP], bypass=True),
            stream.process(samples[6 * HOP :]),
        ]
    )
    assert (stream.bypassed_frames, stream.frames) == (4, 8)
    # output hop t is complete with frame t: dry where both frames that cover it were
    np.testing.assert_allclose(result[3 * HOP : 6 * HOP], samples[2 * HOP : 5 * HOP], atol=1e-6)
    # a state that had gone on would give the third frame after the bypass an echo of old sound
    fresh.process(samples[5 * HOP : 6 * HOP], bypass=True)
    again = fresh.process(samples[6 * HOP :])
    np.testing.assert_array_equal(again[HOP:], result[7 * HOP :])


def test_a_mask_that_looks_ahead_meets_its_own_frame(tmp_path: Path) -> None:
    stream = StreamEnhancer(bundle.load(make_ahead(tmp_path / "ahead", Present())))
    assert (stream.delay, stream.latency) == (3 * HOP, 4 * HOP)
    samples = noise(3000)
    spectra: list[Any] = []
    slow(np.pad(samples, (0, 2 * HOP)), lambda S: spectra.append(S[-1]) or 1)  # type: ignore[func-returns-value]
    expected = slow(samples, lambda S: np.abs(spectra[len(S) + 1]) ** 0.5)
    for _ in range(2):  # the second time after the reset at the end of the first
        np.testing.assert_allclose(stream.enhance(samples), expected, atol=1e-5)
    np.testing.assert_array_equal(
        in_pieces(stream, samples, [1, 700, 701, 2000]), in_pieces(stream, samples, [])
    )


def test_frames_a_look_ahead_did_not_hear_are_dry(tmp_path: Path) -> None:
    """After a bypass the first masks would belong to frames of the bypass: those stay dry."""
    stream = StreamEnhancer(bundle.load(make_ahead(tmp_path / "mute", bundles.Mask(0.0, 0.0))))
    samples = noise(12 * HOP)
    result = np.concatenate(
        [
            stream.process(samples[: 4 * HOP]),
            stream.process(samples[4 * HOP : 7 * HOP], bypass=True),
            stream.process(samples[7 * HOP :]),
        ]
    )
    # frames 2, 3 and 4 are due in the bypass, 5 and 6 unheard: hops 2 … 5 lie in two dry frames
    lag = stream.delay
    hops = {h: result[lag + h * HOP : lag + (h + 1) * HOP] for h in range(9)}
    dry = [h for h, hop in hops.items() if np.allclose(hop, samples[h * HOP :][:HOP], atol=1e-6)]
    assert dry == [2, 3, 4, 5]
    assert [h for h, hop in hops.items() if not hop.any()] == [0, 7, 8]


def test_dry_sound_waits_for_the_look_ahead(tmp_path: Path) -> None:
    folder = make_ahead(tmp_path / "nan", bundles.NotANumber(), frames=3)
    samples = noise(3000)
    for options in ({"wet": 1.0}, {"wet": 0.0}):
        stream = StreamEnhancer(bundle.Model(bundle.read(folder)), **options)
        lagging = in_pieces(stream, samples, [])
        assert len(lagging) == len(samples) + stream.delay
        np.testing.assert_allclose(lagging[stream.delay :], samples, atol=1e-6)


def test_wet_mixes_and_the_limit_holds(tmp_path: Path) -> None:
    model = bundle.load(bundles.make_enhancer(tmp_path / "mute", gain=0.0))
    samples = noise(3000)
    for options, gain in [
        ({"wet": 1.0}, 0.0),
        ({"wet": 0.25}, 0.75),
        ({"wet": 0.0}, 1.0),
        ({"max_attenuation": 20.0}, 0.1),
        ({"wet": 0.5, "max_attenuation": 20.0}, 0.55),
    ]:
        result = StreamEnhancer(model, **options).enhance(samples)
        np.testing.assert_allclose(result, gain * samples, atol=1e-6)
