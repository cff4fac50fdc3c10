"""How much better a recording sounds: SI-SDR, PESQ (wide band), STOI and ESTOI, before and after.

    python scripts/score.py --reference clean.wav --noisy noisy.wav --enhanced enhanced.wav

16 kHz; of several channels the first counts. The recordings may start at different moments (what
came over a network does): each is aligned to the reference by their cross-correlation first. It may
have the other sign, as what some sound cards record: no score minds that, and it is told.
"""

import json
import math
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import typer
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))  # runnable by file name

from compress.speech_metrics import pesq_wb, si_sdr, stoi
from device import errors

RATE = 16_000
Samples = NDArray[np.float32]


def read(path: Path) -> Samples:
    """The first channel.

    Raises:
        BadInputError: not sound, not 16 kHz, shorter than half a second, or not finite.
    """
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise errors.BadInputError(f"{path}: not a sound file") from error
    if rate != RATE or len(samples) < RATE // 2:
        raise errors.BadInputError(f"{path}: needs at least half a second at {RATE} Hz")
    first: Samples = np.ascontiguousarray(samples[:, 0])
    if not np.isfinite(first).all():
        raise errors.BadInputError(f"{path}: holds samples that are not finite")
    return first


def align(samples: Samples, reference: Samples) -> Samples:
    """Shift `samples` to where it resembles `reference`, or its negative, most; as long as that."""
    size = 1 << (len(samples) + len(reference)).bit_length()
    correlation = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(reference, size).conj())
    lag = int(np.abs(correlation).argmax())
    lag = lag - size if lag > size // 2 else lag
    shifted = samples[lag:] if lag >= 0 else np.pad(samples, (-lag, 0))
    shifted = shifted[: len(reference)]
    result: Samples = np.pad(shifted, (0, len(reference) - len(shifted)))
    return result


def inverted(samples: Samples, reference: Samples) -> bool:
    """Whether it resembles the reference's negative."""
    return float(np.vdot(align(samples, reference), reference)) < 0


def score(samples: Samples, reference: Samples) -> dict[str, float]:
    """All scores of one recording."""
    aligned = align(samples, reference)
    return {
        "si_sdr": round(si_sdr(aligned, reference), 2),
        "pesq_wb": round(pesq_wb(aligned, reference, RATE), 3),
        "stoi": round(stoi(aligned, reference, RATE, extended=False), 4),
        "estoi": round(stoi(aligned, reference, RATE, extended=True), 4),
    }


def _known(scores: dict[str, float]) -> dict[str, float | None]:
    """JSON has neither NaN nor infinity: a score without a value is null."""
    return {name: value if math.isfinite(value) else None for name, value in scores.items()}


def main(
    reference: Annotated[Path, typer.Option(help="clean speech")],
    noisy: Annotated[Path, typer.Option(help="before")],
    enhanced: Annotated[Path, typer.Option(help="after")],
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
) -> None:
    """Score a noisy and an enhanced recording against the clean one."""
    clean = read(reference)
    given = {"noisy": read(noisy), "enhanced": read(enhanced)}
    result = {name: score(samples, clean) for name, samples in given.items()}
    for name, samples in given.items():
        if inverted(samples, clean):
            print(f"{name}: polarity is inverted, which no score minds", file=sys.stderr)
    if as_json:
        print(json.dumps({name: _known(row) for name, row in result.items()}, allow_nan=False))
        return
    print(f"{'':10}{'SI-SDR, dB':>12}{'PESQ-WB':>10}{'STOI':>8}{'ESTOI':>8}")
    for name, row in result.items():
        print(
            f"{name:10}{row['si_sdr']:12.2f}{row['pesq_wb']:10.2f}"
            f"{row['stoi']:8.3f}{row['estoi']:8.3f}"
        )


if __name__ == "__main__":
    cli = typer.Typer(add_completion=False)
    cli.command()(main)
    errors.run(cli)
