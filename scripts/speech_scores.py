"""Scores of systems on recordings: one row per system × recording, means over a set."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from compress.speech import Pair, Samples
from compress.speech_metrics import pesq_wb, si_sdr, stoi
from scripts.speech_systems import RATE, System

INTRUSIVE = ("si_sdr", "pesq_wb", "stoi", "estoi")
LONGEST_LAG = 1600  # samples, either way; beyond it a lag is no lag but another sound

Rate = Callable[[Samples], dict[str, float]]
"""Recording → scores without a reference (scripts/dnsmos.py)."""


@dataclass(frozen=True)
class Row:
    """What one system made of one recording. A score that has no value is NaN."""

    set: str
    recording: str
    system: str
    scores: dict[str, float]
    lag: int
    """Samples by which the aligned output still lags behind the clean sound; should be 0."""


def row(name: str, pair: Pair, system: str, enhanced: Samples, rate: Rate | None) -> Row:
    """Score an aligned output [n] of the recording's own length."""
    clean = pair.clean
    scores = {
        "si_sdr": si_sdr(enhanced, clean),
        "pesq_wb": pesq_wb(enhanced, clean, RATE),
        "stoi": stoi(enhanced, clean, RATE, extended=False),
        "estoi": stoi(enhanced, clean, RATE, extended=True),
    }
    if rate is not None:
        scores |= {f"dnsmos_{key}": value for key, value in rate(enhanced).items()}
    return Row(name, pair.name, system, scores, lag(enhanced, clean))


def of_set(
    name: str,
    pairs: Sequence[Pair],
    system: System,
    rate: Rate | None,
    keep: Callable[[Pair, Samples], None],
) -> list[Row]:
    """All recordings of a set through one system.

    Args:
        name: of the set.
        keep: gets every recording with its enhanced sound.
    """
    rows = []
    for pair in pairs:
        enhanced = system.enhance(pair.noisy)
        keep(pair, enhanced)
        rows.append(row(name, pair, system.name, enhanced, rate))
    return rows


def lag(samples: Samples, reference: Samples) -> int:
    """Samples by which `samples` comes late, from the peak of their cross-correlation."""
    size = 1 << (len(samples) + len(reference)).bit_length()
    spectrum = np.fft.rfft(samples, size) * np.fft.rfft(reference, size).conj()
    near = np.fft.irfft(spectrum, size)[np.arange(-LONGEST_LAG, LONGEST_LAG + 1)]
    return int(near.argmax()) - LONGEST_LAG


def means(rows: Iterable[Row]) -> dict[str, float]:
    """Per score, over the recordings that have a value (compress/speech_metrics.py)."""
    table = list(rows)
    return {name: _mean([one.scores[name] for one in table]) for name in table[0].scores}


def usual_lag(rows: Iterable[Row]) -> int:
    """The median over recordings: one noisy recording says little."""
    return round(float(np.median([one.lag for one in rows])))


def _mean(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
