"""DNSMOS: a network's guess at how people would rate noise-suppressed speech, 1…5, no reference.

C. Reddy, V. Gopal, R. Cutler, "DNSMOS P.835", ICASSP 2022, arXiv:2110.01763, and "DNSMOS",
ICASSP 2021, arXiv:2010.15258; the networks are those that the package speechmos ships.

    sig, bak, ovrl   speech, background, both: raw answers through the authors' polynomials
    p808             overall by P.808, from a log-mel spectrogram

A recording is repeated until it lasts 9.01 s. The authors hear windows of that length, one second
apart, and take the mean; of a short recording all hold the same sound, and each costs .7 s of CPU,
so the first may stand for all. Never a gate: it may rise while SI-SDR and STOI fall.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.speech import Samples
from scripts import speech_onnx
from scripts.speech_systems import RATE, folder

NAMES = ("sig", "bak", "ovrl", "p808")
SECONDS = 9.01
SIG = (-0.08397278, 1.22083953, 0.0052439)  # c₂x² + c₁x + c₀
BAK = (-0.13166888, 1.60915514, -0.39604546)
OVRL = (-0.06766283, 1.11546468, 0.04602535)
WINDOW, HOP, MELS = 321, 160, 120
QUIETEST, RANGE_DB = 1e-10, 80.0
# Slaney's mel scale: linear below 1 kHz, then logarithmic
LINEAR_HZ, BREAK_HZ, LOG_STEP = 200 / 3, 1000.0, np.log(6.4) / 27

Array = NDArray[np.float64]


class Dnsmos:
    """Both networks, loaded once.

    Args:
        every: hear every window, as the authors do, and not only the first.
    Raises:
        MissingPeerError: speechmos or ONNX Runtime is not installed.
    """

    def __init__(self, *, every: bool) -> None:
        self._every = every
        models = folder("speechmos") / "dnsmos_models"
        self._rated: Any = speech_onnx.session(models / "sig_bak_ovr.onnx")
        self._overall: Any = speech_onnx.session(models / "model_v8.onnx")
        self._filters = mel_filters()

    def __call__(self, samples: Samples) -> dict[str, float]:
        """A recording [n] at 16 kHz → its four scores."""
        heard = np.clip(samples, -1, 1)
        length = int(SECONDS * RATE)
        while len(heard) < length:
            heard = np.concatenate((heard, heard))
        found: dict[bytes, tuple[float, ...]] = {}  # windows of a repeated recording repeat, too
        scores = []
        windows = int(len(heard) // RATE - SECONDS) + 1 if self._every else 1
        for start in range(windows):
            # computed as the authors do, whose rounding leaves out a window here and there
            window = heard[start * RATE : int((start + SECONDS) * RATE)].astype(np.float32)
            if len(window) == length:
                key = window.tobytes()
                found[key] = found.get(key) or self._window(window)
                scores.append(found[key])
        return dict(zip(NAMES, np.mean(scores, 0).tolist(), strict=True))

    def _window(self, given: Samples) -> tuple[float, ...]:
        raw = self._rated.run(None, {"input_1": given[None]})[0][0]
        rated = (np.polyval(c, x) for c, x in zip((SIG, BAK, OVRL), raw, strict=True))
        mel = log_mel(given[:-HOP], self._filters).astype(np.float32)
        return (*map(float, rated), float(self._overall.run(None, {"input_1": mel[None]})[0][0][0]))


def log_mel(samples: Samples, filters: Array) -> Array:
    """[n] → [frame, mel]: dB below the loudest, brought to about −1…1."""
    half = WINDOW // 2
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(samples, half), WINDOW)[::HOP]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    mel = np.abs(np.fft.rfft(frames * hann)) ** 2 @ filters.T
    level = 10 * np.log10(np.maximum(mel, QUIETEST))
    level -= 10 * np.log10(max(QUIETEST, float(mel.max())))
    found: Array = (np.maximum(level, level.max() - RANGE_DB) + 40) / 40
    return found


def mel_filters() -> Array:
    """Triangles of equal area on Slaney's scale, [mel, bin]."""
    highest = BREAK_HZ / LINEAR_HZ + np.log(RATE / 2 / BREAK_HZ) / LOG_STEP
    mels = np.linspace(0, highest, MELS + 2)
    bend = BREAK_HZ / LINEAR_HZ
    edges = np.where(
        mels < bend, LINEAR_HZ * mels, BREAK_HZ * np.exp(LOG_STEP * np.maximum(mels - bend, 0))
    )
    bins = np.fft.rfftfreq(WINDOW, 1 / RATE)
    width = np.diff(edges)[:, None]
    rising = (bins - edges[:-2, None]) / width[:-1]
    falling = (edges[2:, None] - bins) / width[1:]
    areas = 2 / (edges[2:] - edges[:-2])
    found: Array = np.maximum(0, np.minimum(rising, falling)) * areas[:, None]
    return found
