"""Streaming speech enhancement: samples in, samples out, whatever the chunk size.

    S = rfft(w·x)    feature → model → mask    y = overlap-add of w·irfft(S·mask)

    x   the newest n_fft samples, one hop newer each frame, zeros before the start
    w   square root of the periodic Hann window: w² of overlapping frames adds up to a constant
    feature   compressed_magnitude: |S|^exponent, [1, n_fft/2+1]
              compressed_complex: S·|S|^(exponent−1), real then imaginary, [1, n_fft+2]
    mask      magnitude: real gains; complex: real then imaginary parts

A model that looks ahead gives at frame t the mask of frame t − lookahead: spectra wait that long.

A model that remembers without an end (LSTMs, running means) is lost for seconds where a quiet room
becomes a loud one: it starts anew there (device/level_step.py).

The dry signal takes the same path with a mask of one. It is therefore always in time with the
enhanced one, and a change between them is cross-faded by the window.
"""

from collections import deque
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device import front_end
from device.bundle import Model
from device.errors import BadInputError, NonFiniteError
from device.level_step import LevelStep
from device.manifest import SpectrumInput
from device.memory import Memory
from device.samples import Array, without_broken

Spectrum = NDArray[np.complex64]
Wide = NDArray[np.float64]

SMALLEST = np.float32(1e-12)  # |S| below it has no phase


class StreamEnhancer:
    """One channel of one stream.

    The output lags by `delay` samples: after n samples in, every whole hop of the n has come
    out, the first `delay` samples being the silence before the stream. Not for several threads.

    Args:
        model: an "enhance" bundle's model.
        wet, max_attenuation: see the properties.
        anew: whether the model starts anew after a level step; else it runs as it was trained.
    Raises:
        BadInputError: not an enhancer, tensors that do not fit its front end, or such a setting.
    """

    def __init__(
        self,
        model: Model,
        wet: float = 1.0,
        max_attenuation: float | None = None,
        *,
        anew: bool = True,
    ) -> None:
        front = front_end.of(model)
        self.rate, self.hop = front.rate, front.hop
        self.delay = front.n_fft - front.hop + front.lookahead * front.hop
        """Samples by which the output lags."""
        self.latency = self.delay + front.hop
        """Samples between a sound and its output at worst: the delay and the wait for a hop."""
        self.frames = 0
        """Frames of this enhancer's life."""
        self.bad_samples = 0
        """Input samples that were broken (see device/samples.py), heard as silence."""
        self.bad_frames = 0
        """Frames passed dry because the model's output was not finite."""
        self.bypassed_frames = 0
        """Frames passed dry at the caller's wish."""
        self.level_steps = 0
        """How often the model started anew because the level had stepped."""
        self._front = front
        self.wet, self.max_attenuation = wet, max_attenuation
        n = np.arange(front.n_fft)
        window = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * n / front.n_fft))
        self._analysis: Array = window.astype(np.float32)
        # Hann windows a hop apart add up to n_fft / (2·hop)
        self._synthesis: Array = (window * 2 * front.hop / front.n_fft).astype(np.float32)
        shapes = {tensor.name: tensor.shape for tensor in model.bundle.manifest.inputs}
        self._model = model
        self._memory = Memory(model.bundle.manifest.states, shapes)
        self._waiting_spectra: deque[Spectrum] = deque(maxlen=front.lookahead + 1)
        self._newest: Array = np.zeros(front.n_fft, np.float32)
        self._sum: Array = np.zeros(front.n_fft, np.float32)
        self._pending: Array = np.zeros(front.hop, np.float32)
        self._waiting = 0  # samples in _pending
        self._stale = False  # frames have passed that the model did not hear
        self._unheard = 0  # coming frames whose masks the model cannot know: it did not hear them
        self._sounding = 0  # frames, this one included, in which a sound is heard or still due
        self._anew, self._level = anew, LevelStep()
        self._mask: Array | Spectrum | None = None  # the newest, for frames between two lives
        self._forget_spectra()
        np.fft.irfft(np.fft.rfft(self._newest))  # numpy loads its FFT at the first call: 1 ms

    @property
    def wet(self) -> float:
        """1 = enhanced only, 0 = dry only. May change in a stream: frames fade into each other."""
        return self._wet

    @wet.setter
    def wet(self, share: float) -> None:
        if not 0 <= _number(share) <= 1:  # NaN neither
            raise BadInputError(f"wet: {share!r} is no number between 0 and 1")
        self._wet = float(share)

    @property
    def max_attenuation(self) -> float | None:
        """dB; no bin is turned down further, None = no limit. May change in a stream."""
        return self._max_attenuation

    @max_attenuation.setter
    def max_attenuation(self, limit: float | None) -> None:
        if limit is not None and not _number(limit) >= 0:
            raise BadInputError(f"max_attenuation: {limit!r} is no number of decibels from 0 up")
        self._max_attenuation = limit
        self._floor = np.float32(0 if limit is None else 10 ** (-limit / 20))

    def process(
        self, samples: Array | Wide, rate: int | None = None, *, bypass: bool = False
    ) -> Array:
        """Samples [n] in, the samples that became ready out (0 or more whole hops).

        The output does not depend on how a stream is cut into calls.

        Args:
            samples: full scale 1, float32 or float64.
            rate: Hz, where the caller's may change; refused unless it is the model's.
            bypass: pass the frames that become complete dry, without running the model.
        Raises:
            BadInputError: another rate, integers, or more than one channel.
        """
        if rate is not None and rate != self.rate:
            raise BadInputError(f"sound at {rate} Hz: the model hears {self.rate} Hz, resample it")
        one, bad = without_broken(_one_channel(samples))
        samples = one.astype(np.float32, copy=False)
        self.bad_samples += bad
        hops = (self._waiting + len(samples)) // self.hop
        ready: Array = np.empty(hops * self.hop, np.float32)
        taken = 0
        for start in range(0, len(ready), self.hop):
            missing = self.hop - self._waiting
            self._pending[self._waiting :] = samples[taken : taken + missing]
            taken, self._waiting = taken + missing, 0
            self._frame(ready[start : start + self.hop], bypass)
        rest = len(samples) - taken
        self._pending[self._waiting : self._waiting + rest] = samples[taken:]
        self._waiting += rest
        return ready

    def flush(self) -> Array:
        """End the stream: the rest, so that n samples in have given n + `delay` out."""
        rest = self._waiting + self.delay
        padding = -self._waiting % self.hop + self.delay
        ready = self.process(np.zeros(padding, np.float32))[:rest]
        self.reset()
        return ready

    def reset(self) -> None:
        """Start a new stream; the counters go on."""
        self._memory.reset()
        self._forget_spectra()
        self._newest.fill(0)
        self._sum.fill(0)
        self._waiting = 0
        self._stale = False
        self._unheard = self._sounding = 0
        self._level.reset()
        self._mask = None

    def enhance(self, samples: Array | Wide, rate: int | None = None) -> Array:
        """A whole recording [n]: same length out, aligned. See `process`."""
        self.reset()
        whole = np.concatenate((self.process(samples, rate), self.flush()))
        return whole[self.delay :]

    def _frame(self, ready: Array, bypass: bool) -> None:
        """One hop from _pending in, one hop to `ready` out."""
        hop = self.hop
        self._newest[:-hop] = self._newest[hop:]
        self._newest[-hop:] = self._pending
        spectrum: Spectrum = np.fft.rfft(self._newest * self._analysis).astype(
            np.complex64, copy=False
        )
        self._waiting_spectra.append(spectrum)
        due = self._waiting_spectra[0]
        self.bypassed_frames += bypass
        # a muted microphone is no quiet room: means of it would pass the noise for seconds after
        self._sounding = len(self._waiting_spectra) if self._newest.any() else self._sounding - 1
        if bypass or self._wet == 0:
            self._stale = True
        elif self._sounding > 0:
            due = self._masked(due, spectrum)
        self._sum += np.fft.irfft(due, self._front.n_fft) * self._synthesis
        ready[:] = self._sum[:hop]
        self._sum[:-hop] = self._sum[hop:]
        self._sum[-hop:] = 0
        self.frames += 1

    def _masked(self, due: Spectrum, newest: Spectrum) -> Spectrum:
        """The enhanced spectrum that is due, after the model has heard the newest one."""
        stepped = self._level.heard(self._pending)
        if self._stale:
            self._start_anew()
            self._stale = False
        elif stepped and self._anew:
            self._start_anew(self._mask)
            self.level_steps += 1
        try:
            outputs = self._model({**self._memory.inputs(), "frame": _feature(newest, self._front)})
        except NonFiniteError:
            self.bad_frames += 1
            self._start_anew()
            return due
        self._memory.keep(outputs)
        if self._unheard:
            self._unheard -= 1
            return due if self._mask is None else due * self._mask
        raw: Array = outputs["mask"][0]
        mask: Array | Spectrum
        if self._front.mask == "magnitude":
            mask = np.maximum(raw, self._floor) if self._floor else raw
        else:
            half = len(raw) // 2
            mask = _at_least(raw[:half] + np.complex64(1j) * raw[half:], self._floor)
        if self._wet < 1:
            mask = self._wet * mask + (1 - self._wet)
        self._mask = mask
        return due * mask

    def _start_anew(self, mask: Array | Spectrum | None = None) -> None:
        """Forget what the model heard, in the middle of a stream; `mask` until it answers again."""
        self._memory.reset()
        self._unheard, self._mask = self._front.lookahead, mask

    def _forget_spectra(self) -> None:
        silence: Spectrum = np.zeros(self._front.n_fft // 2 + 1, np.complex64)
        self._waiting_spectra.extend([silence] * (self._front.lookahead + 1))


def _one_channel(samples: Array | Wide) -> Any:
    """The samples, where they are what `process` takes."""
    given = np.asarray(samples)
    if given.ndim != 1:
        raise BadInputError(f"samples of shape {given.shape}: give one channel, [n]")
    if given.dtype not in (np.float32, np.float64):
        raise BadInputError(
            f"samples are {given.dtype}: give float32 with full scale 1 (device/samples.py)"
        )
    return given


def _feature(spectrum: Spectrum, front: SpectrumInput) -> Array:
    magnitude: Array = np.abs(spectrum)
    if front.feature == "compressed_magnitude":
        return (magnitude**front.exponent)[None]
    compressed = spectrum * np.maximum(magnitude, SMALLEST) ** (front.exponent - 1)
    return np.concatenate((compressed.real, compressed.imag))[None]


def _at_least(mask: Spectrum, floor: np.float32) -> Spectrum:
    """Scale every complex gain to a magnitude of at least `floor`; zeros become `floor`."""
    magnitude = np.abs(mask)
    low = magnitude < floor
    if low.any():
        direction = np.where(magnitude > SMALLEST, mask / np.maximum(magnitude, SMALLEST), 1)
        mask = np.where(low, floor * direction, mask)
    return mask


def _number(value: object) -> float:
    """NaN of what is none, from who calls without types."""
    return float(value) if isinstance(value, Real) else float("nan")
