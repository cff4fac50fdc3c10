"""What scripts/speech_bench.py leaves behind.

report.md      a table of systems with cost and speed, a table of scores per set
report.json    the same as numbers, with the conditions
scores.csv     one line per system × recording
listen/        SET-input-CHOICE-SYSTEM.wav of a few recordings, clean and unprocessed among them
"""

import csv
import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile

from compress.speech import Pair, Samples
from device import files
from scripts import arithmetic, speech_scores
from scripts.speech_rtf import Speed
from scripts.speech_scores import Row
from scripts.speech_systems import RATE, UNPROCESSED, System

LABELS = {
    "si_sdr": ("SI-SDR, dB", 2),
    "pesq_wb": ("PESQ-WB", 2),
    "stoi": ("STOI", 3),
    "estoi": ("ESTOI", 3),
    "dnsmos_sig": ("DNSMOS SIG", 2),
    "dnsmos_bak": ("BAK", 2),
    "dnsmos_ovrl": ("OVRL", 2),
    "dnsmos_p808": ("P.808", 2),
}
NONE = "–"


@dataclass(frozen=True)
class Results:
    """Everything that was found."""

    systems: Sequence[System]
    rows: Sequence[Row]
    speeds: Mapping[str, Speed]
    skipped: Mapping[str, str]
    """Peer → what to install."""
    conditions: Mapping[str, str]
    """What the figures depend on, in words."""

    def sets(self) -> dict[str, list[Row]]:
        """Rows by set, in the order of scoring."""
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.set, []).append(row)
        return found

    def of(self, rows: Sequence[Row], system: System) -> list[Row]:
        """Those of one system."""
        return [row for row in rows if row.system == system.name]


class Listening:
    """Recordings worth hearing: of each set those whose input has the lowest and the middle SI-SDR;
    recordings without speech have none.

    Args:
        folder: made when the first file is written.
    """

    def __init__(self, folder: Path, name: str, inputs: Sequence[Row]) -> None:
        known = [row for row in inputs if not math.isnan(row.scores["si_sdr"])]
        ranked = sorted(known, key=lambda row: row.scores["si_sdr"])
        self._folder, self._set = folder, name
        self._chosen: dict[str, str] = {}
        if ranked:
            self._chosen[ranked[len(ranked) // 2].recording] = "middle"
            self._chosen[ranked[0].recording] = "worst"

    def keep(self, pair: Pair, system: str, samples: Samples) -> None:
        """Write a chosen recording, 16 bits; others are let go."""
        if pair.name in self._chosen:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{self._set}-input-{self._chosen[pair.name]}-{system}.wav"
            content = io.BytesIO()  # soundfile says of a full disk neither which file nor why
            soundfile.write(content, np.clip(samples, -1, 1), RATE, subtype="PCM_16", format="WAV")
            files.write_bytes(path, content.getvalue())


def fingerprint(pairs: Sequence[Pair]) -> str:
    """SHA-256 over the sound of a set: equal only where the same recordings were scored."""
    found = hashlib.sha256()
    for pair in pairs:
        found.update(pair.noisy.tobytes() + pair.clean.tobytes())
    return found.hexdigest()


def write(out: Path, results: Results) -> None:
    """report.md, report.json and scores.csv into an existing folder."""
    (out / "report.md").write_text(markdown(results), encoding="utf-8")
    table = json.dumps(_numbers(results), indent=1, ensure_ascii=False)
    (out / "report.json").write_text(table + "\n", encoding="utf-8")
    with (out / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        names = list(results.rows[0].scores)
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["set", "recording", "system", *names, "lag"])
        for row in results.rows:
            scores = [f"{row.scores[name]:.5f}" for name in names]
            writer.writerow([row.set, row.recording, row.system, *scores, row.lag])


def markdown(results: Results) -> str:
    """report.md."""
    lines = ["# Speech enhancers side by side", "", *_cost(results)]
    for name, rows in results.sets().items():
        recordings = len({row.recording for row in rows})
        columns = [LABELS[score] for score in rows[0].scores]
        lines += ["", f"## {name}: mean of {recordings} recordings", ""]
        lines += _head(["", *(label for label, _ in columns), "lag"])
        for system in results.systems:
            own = results.of(rows, system)
            means = speech_scores.means(own).values()
            cells = [_number(v, digits) for v, (_, digits) in zip(means, columns, strict=True)]
            lines.append(_line([system.name, *cells, str(speech_scores.usual_lag(own))]))
    lines += ["", "## Conditions", ""]
    lines += [f"- {name}: {told}" for name, told in results.conditions.items()]
    lines += [f"- skipped: {name} ({what})" for name, what in results.skipped.items()]
    lines += [
        "- Pi 4 RTF: bounds by arithmetic (scripts/arithmetic.py), nothing measured.",
        "- Every output was moved back by the delay its system states, never by one searched for. "
        "lag: samples that the cross-correlation with the clean sound still finds, median of the "
        "recordings.",
        "- SI-SDR counts phase: even clean speech comes out of WebRTC's with about 2 dB. DNSMOS "
        "may rise while SI-SDR and STOI fall.",
        "- A peer may have learned from speakers of these recordings: the DNS challenge's speech "
        "and LibriSpeech both come from LibriVox.",
    ]
    return "\n".join(lines) + "\n"


def _cost(results: Results) -> list[str]:
    lines = _head(
        [
            "",
            "from",
            "latency, ms",
            "parameters",
            "file, kB",
            "RTF",
            "10–90 %",
            "hop, ms",
            "p99, ms",
            "M MACs a hop",
            "nodes",
            "Pi 4 RTF, arithmetic",
        ]
    )
    for system in results.systems:
        if system.name == UNPROCESSED:
            continue
        cells = [system.name, system.origin, f"{system.latency_ms:.0f}"]
        cells.append(NONE if system.parameters is None else f"{system.parameters:,}")
        cells.append(NONE if system.bytes is None else f"{system.bytes / 1000:.0f}")
        speed = results.speeds.get(system.name)
        if speed is None:
            cells += [NONE] * 4
        else:
            spread = f"{speed.low:.4f}–{speed.high:.4f}"
            cells += [f"{speed.rtf:.4f}", spread, f"{speed.hop_ms:.3f}", f"{speed.p99_ms:.3f}"]
        cells += _arithmetic(system)
        lines.append(_line(cells))
    return lines


def _arithmetic(system: System) -> list[str]:
    if system.macs is None or system.nodes is None or system.bytes is None:
        return [NONE] * 3
    low, high = arithmetic.pi4(system.macs, system.bytes, system.nodes, system.period)
    return [f"{system.macs / 1e6:.2f}", str(system.nodes), f"{low:.3f}–{high:.2f}"]


def _numbers(results: Results) -> dict[str, object]:
    systems = {
        system.name: {
            "origin": system.origin,
            "hop": system.hop,
            "delay": system.delay,
            "latency_ms": system.latency_ms,
            "parameters": system.parameters,
            "bytes": system.bytes,
            "macs": system.macs,
            "nodes": system.nodes,
            "speed": asdict(results.speeds[system.name]) if system.name in results.speeds else None,
        }
        for system in results.systems
    }
    sets = {
        name: {
            system.name: {
                score: None if math.isnan(value) else round(value, 5)
                for score, value in speech_scores.means(results.of(rows, system)).items()
            }
            | {"lag": speech_scores.usual_lag(results.of(rows, system))}
            for system in results.systems
        }
        for name, rows in results.sets().items()
    }
    told = {"conditions": dict(results.conditions), "skipped": dict(results.skipped)}
    return {"systems": systems, "sets": sets, **told}


def _number(value: float, digits: int) -> str:
    return NONE if math.isnan(value) else f"{value:.{digits}f}"


def _head(cells: Sequence[str]) -> list[str]:
    return [_line(cells), "|" + "---|" * len(cells)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
