"""The demo's closing table: what arrived, how much better it sounds, how fast it ran.

Scores and speed are measured by scripts/ in processes of their own: apps/ runs on the Pi and
never imports the workstation's packages.
"""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from apps.demo.listener import Listener
from device import files
from device.errors import FieldwrenError

ROOT = Path(__file__).parents[2]
RESULTS = ("enhanced.wav", "noisy.wav", "snapshot.jpg", "demo.json")


@dataclass(frozen=True)
class Summary:
    """Everything the demo shows at its end; also demo.json."""

    detections: list[dict[str, Any]]
    snapshot: str
    audio_frames: int
    scores: dict[str, dict[str, float]]  # "noisy" and "enhanced" → si_sdr dB, pesq_wb, stoi
    speech_rtf: dict[str, Any]  # the running app's own telemetry
    birds: dict[str, Any]  # scripts/speedup.py
    enhancer: dict[str, Any]

    def missing(self) -> list[str]:
        """Parts that delivered nothing."""
        parts = {
            "detection": self.detections,
            "snapshot": self.snapshot,
            "audio frame": self.audio_frames,
            "speech telemetry": self.speech_rtf,
        }
        return [name for name, delivered in parts.items() if not delivered]


def measure(out: Path, scene: Path, zoo: Path, listener: Listener) -> Summary:
    """Score the audio that arrived and time the models, now that nothing else runs."""
    snapshot = out / "snapshot.jpg"
    scores: dict[str, dict[str, float]] = {}
    if listener.audio_frames:
        reference = scene / "speech-clean.wav"
        scores = _script("score.py", "--reference", reference, "--noisy", out / "noisy.wav",
                         "--enhanced", out / "enhanced.wav")  # fmt: skip
    return Summary(
        detections=listener.detections,
        snapshot=str(snapshot) if snapshot.is_file() else "",
        audio_frames=listener.audio_frames,
        scores=scores,
        speech_rtf=listener.telemetry.get("speech", {}),
        birds=_speedup(zoo, "birds"),
        enhancer=_speedup(zoo, "enhancer-bands"),
    )


def show(table: Summary, out: Path) -> None:
    """Print the table and keep it as demo.json."""
    files.write_bytes(out / "demo.json", json.dumps(asdict(table), indent=1).encode())
    grid = Table(title="Fieldwren demo", show_header=False, title_justify="left")
    names = ", ".join(sorted({d["CommonName"] for d in table.detections})) or "none"
    grid.add_row("detections over MQTT", f"{len(table.detections)}: {names}")
    grid.add_row("snapshot", _shown(table.snapshot) or "none")
    grid.add_row("audio frames over MQTT", f"{table.audio_frames} of 20 ms")
    if table.scores:
        noisy, clean = table.scores["noisy"], table.scores["enhanced"]
        for key, name, digits in (
            ("si_sdr", "SI-SDR, dB", 1), ("pesq_wb", "PESQ-WB", 2), ("stoi", "STOI", 3),
        ):  # fmt: skip
            grid.add_row(name, f"{noisy[key]:.{digits}f} → {clean[key]:.{digits}f}")
        grid.add_row("listen", f"{_shown(out / 'noisy.wav')} → {_shown(out / 'enhanced.wav')}")
    if table.speech_rtf:
        rtf = table.speech_rtf
        grid.add_row(
            "speech RTF while running",
            f"p50 {rtf['rtfP50']:.3f}  p95 {rtf['rtfP95']:.3f}  p99 {rtf['rtfP99']:.3f}",
        )
    for name, speed in (("bird classifier", table.birds), ("speech enhancer", table.enhancer)):
        grid.add_row(
            f"{name}, compressed against baseline",
            f"{speed['baseline_p50_ms']:.2f} → {speed['compressed_p50_ms']:.2f} ms: "
            f"{speed['speedup']:.1f}× faster ({speed['speedup_min']:.1f}–"
            f"{speed['speedup_max']:.1f}), {speed['bytes_ratio']:.1f}× smaller",
        )
    grid.caption = f"{table.birds['threads']} thread, {table.birds['machine']}"
    Console().print(grid)


def _speedup(zoo: Path, name: str) -> dict[str, Any]:
    return _script("speedup.py", "--baseline", zoo / f"{name}-baseline", "--compressed", zoo / name)


def _script(name: str, *arguments: str | Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / name), *map(str, arguments), "--json"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise FieldwrenError(f"scripts/{name} failed: {lines[-1]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _shown(path: str | Path) -> str:
    """Relative to where the person stands, if possible."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return str(path)
