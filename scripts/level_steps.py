"""What an enhancer does after a room was quiet, loud or muted: everyone is scored on steady levels.

    python scripts/level_steps.py --bundle models/zoo/enhancer-bands --data DATA --out steps.csv

Each recording is played PLAYS times in a row behind a beginning: nothing, noise of a quiet or of a
loud room, digital silence. The table has the mean SI-SDR of every playing, in dB. A network that
hears levels against a running mean has the beginning in that mean, and, if it remembers without an
end, in its state. The last row is what must not be taken for another room: clean speech in faint
noise, a pause before every playing. Recordings and peers are those of scripts/speech_bench.py.
"""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))  # runnable by file name

from compress.speech import Pair, Samples
from compress.speech_metrics import si_sdr
from device import errors, files
from scripts.speech_bench import Split, recordings, systems_of
from scripts.speech_systems import RATE, System

PLAYS = 3
LOWEST = 60  # Hz: below it a room's noise rises no more
BEGINNINGS: dict[str, tuple[float, float]] = {  # seconds, dBFS
    "none": (0, -np.inf),
    "quiet, -60 dBFS": (3, -60),
    "quiet, -75 dBFS": (3, -75),
    "muted": (3, -np.inf),
    "loud, -6 dBFS": (2, -6),
}
PAUSE, FAINT = 1.0, -60.0  # seconds, dBFS
PAUSED = "clean, with pauses"


def beginning(seconds: float, dbfs: float, seed: int) -> Samples:
    """Pink noise [n] of so many dBFS (RMS), clipped at full scale."""
    count = int(seconds * RATE)
    if not np.isfinite(dbfs) or not count:
        return np.zeros(count, np.float32)
    white = np.random.default_rng(seed).standard_normal(count)
    spectrum = np.fft.rfft(white)
    hertz = np.fft.rfftfreq(count, 1 / RATE)
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(hertz, LOWEST)), count)
    level = 10 ** (dbfs / 20) / np.sqrt(np.mean(pink**2))
    clipped: Samples = np.clip(pink * level, -1, 1).astype(np.float32)
    return clipped


def after(system: System, pair: Pair, seconds: float, dbfs: float, seed: int) -> list[float]:
    """SI-SDR of each playing behind such a beginning."""
    first = beginning(seconds, dbfs, seed)
    sound = np.concatenate((first, np.tile(pair.noisy, PLAYS)))
    playings = np.split(system.enhance(sound)[len(first) :], PLAYS)
    return [si_sdr(playing, pair.clean) for playing in playings]


def paused(system: System, pair: Pair, seed: int) -> list[float]:
    """SI-SDR of each playing of the clean speech in faint noise, with the pause before it."""
    wanted = np.tile(np.pad(pair.clean, (int(PAUSE * RATE), 0)), PLAYS)
    noise = beginning(len(wanted) / RATE, FAINT, seed)
    enhanced = system.enhance(wanted + noise)
    parts = zip(np.split(enhanced, PLAYS), np.split(wanted, PLAYS), strict=True)
    return [si_sdr(playing, clean) for playing, clean in parts]


def measure(systems: Sequence[System], pairs: Sequence[Pair]) -> list[dict[str, object]]:
    """One row per system and beginning."""
    rows: list[dict[str, object]] = []
    console = Console(stderr=True)
    for system in systems:
        for name in track(
            (*BEGINNINGS, PAUSED), system.name, console=console, disable=not console.is_terminal
        ):
            scores = [
                after(system, pair, *BEGINNINGS[name], i)
                if name in BEGINNINGS
                else paused(system, pair, i)
                for i, pair in enumerate(pairs)
            ]
            means = [fmean(column) for column in zip(*scores, strict=True)]
            playings = {f"playing {i}": round(mean, 2) for i, mean in enumerate(means, 1)}
            rows.append({"system": system.name, "beginning": name, **playings})
    return rows


def main(
    bundle: Annotated[list[Path], typer.Option(help="bundle folder; may be given several times")],
    data: Annotated[Path, typer.Option(help="folder with the recipe's recordings")],
    out: Annotated[Path | None, typer.Option(help="also a .csv of the rows")] = None,
    recipe_name: Annotated[
        str, typer.Option("--recipe", help="whose recordings: a file or a shipped recipe")
    ] = "enhancer-bands",
    split: Annotated[Split, typer.Option(help="recordings")] = Split.VALIDATION,
    peer: Annotated[
        list[str] | None, typer.Option(help="as of speech_bench.py [default: dtln]")
    ] = None,
) -> None:
    """SI-SDR of bundles and peers behind quiet, loud and muted beginnings."""
    pairs = recordings(recipe_name, data, [split])[split.value]
    systems, _ = systems_of(bundle, peer or ["dtln"], data)
    rows = measure(systems, pairs)
    table = Table(title=f"SI-SDR in dB, {len(pairs)} recordings ({split.value})")
    for column in rows[0]:
        table.add_column(column, justify="right" if column.startswith("playing") else "left")
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table)
    if out is not None:
        with files.replacing(out) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    cli = typer.Typer(add_completion=False)
    cli.command()(main)
    errors.run(cli)
