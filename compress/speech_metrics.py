"""Scores of enhanced speech against its clean reference.

    si_sdr   dB, scale-invariant, mean kept (torchmetrics, zero_mean=False)
    pesq_wb  ITU-T P.862.2, wide band (package pesq), 1…4.64; it is defined at 16 kHz, to which
             sounds of other rates are resampled: only recipes of one rate compare in it; long
             recordings in stretches of at most 20 s
    stoi     short-time objective intelligibility (package pystoi), 0…1
    estoi    its extended form, for modulated noise

None of them can score recordings without speech; such recordings do not enter the means.
What an enhancer made silent is no such recording: it has the worst PESQ and SI-SDR there are.
"""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import pesq
import pystoi
import soxr
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

from compress.speech import SILENT, Pair, Samples

NAMES = ("si_sdr", "pesq_wb", "stoi", "estoi")
SHORTEST = 0.4  # seconds; STOI compares stretches of 384 ms
WORST_PESQ = 1.0
WORST_SI_SDR = -80.0  # dB; compress/spectra.py gives it too
PESQ_RATE = 16_000  # Hz
PESQ_LONGEST = 20  # seconds: the package has room for 50 utterances, and reads beyond it

Enhance = Callable[[Samples], Samples]
"""Noisy recording [n] → enhanced [n], aligned."""


def si_sdr(estimate: Samples, clean: Samples) -> float:
    """dB; NaN where `clean` holds no speech."""
    if np.mean(clean.astype(np.float64) ** 2) <= SILENT:
        return float("nan")
    if not estimate.any():
        return WORST_SI_SDR
    score = scale_invariant_signal_distortion_ratio(
        torch.from_numpy(estimate.astype(np.float64)), torch.from_numpy(clean.astype(np.float64))
    )
    return float(score)


def pesq_wb(estimate: Samples, clean: Samples, rate: int) -> float:
    """1…4.64; NaN where PESQ finds no utterance in `clean`, or less than a quarter of a second.

    Of what is longer than PESQ_LONGEST the mean over equal stretches that hold an utterance.
    """
    if rate != PESQ_RATE:
        clean, estimate = (soxr.resample(sound, rate, PESQ_RATE) for sound in (clean, estimate))
    count = -(-len(clean) // (PESQ_LONGEST * PESQ_RATE))
    stretches = (np.array_split(sound, max(1, count)) for sound in (estimate, clean))
    found = [score for pair in zip(*stretches, strict=True) if (score := _pesq(*pair)) is not None]
    return float(np.mean(found)) if found else float("nan")


def _pesq(estimate: Samples, clean: Samples) -> float | None:
    if not clean.any():  # pesq divides by the peak
        return None
    try:
        if estimate.any():
            return float(pesq.pesq(PESQ_RATE, clean, estimate, "wb"))
        pesq.pesq(PESQ_RATE, clean, clean, "wb")  # is there an utterance at all?
    except (pesq.NoUtterancesError, pesq.BufferTooShortError):
        return None
    return WORST_PESQ


def stoi(estimate: Samples, clean: Samples, rate: int, *, extended: bool) -> float:
    """0…1; NaN where there is too little speech left after pystoi removed silent frames."""
    if len(clean) < SHORTEST * rate or not clean.any():
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(pystoi.stoi(clean, estimate, rate, extended=extended))
        except RuntimeWarning:
            return float("nan")


def score(pairs: Sequence[Pair], enhance: Enhance, rate: int, *, fast: bool) -> dict[str, float]:
    """Means over the pairs that have the measure: SI-SDR alone when `fast`, all otherwise.

    A measure that no pair has, as STOI of very short ones, is left out: no number is stored as NaN.
    An output that is not finite counts as silence, the worst there is.
    """
    rows = []
    for pair in pairs:
        estimate = enhance(pair.noisy)
        if not np.isfinite(estimate).all():
            estimate = np.zeros_like(pair.noisy)
        row = {"si_sdr": si_sdr(estimate, pair.clean)}
        if not fast:
            row["pesq_wb"] = pesq_wb(estimate, pair.clean, rate)
            row["stoi"] = stoi(estimate, pair.clean, rate, extended=False)
            row["estoi"] = stoi(estimate, pair.clean, rate, extended=True)
        rows.append(row)
    known = {name: [row[name] for row in rows if not np.isnan(row[name])] for name in rows[0]}
    return {name: float(np.mean(values)) for name, values in known.items() if values}
