"""What a run found: report.json for machines, report.html (self-contained) for people."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from pydantic import Field
from rich.table import Table

from compress import plots
from compress.export import Exported
from compress.pack import Packed
from compress.quantization.audit import Layer
from compress.recipe import Recipe
from compress.store import Record
from compress.task import Quality
from device import files
from device.manifest import Data, Frozen

TEMPLATE = "report.html.j2"


class Report(Frozen):
    """Everything a run found. Scores of `split` were read once, after all decisions."""

    recipe: Recipe
    seed: int
    data: Data
    split: str
    stages: tuple[Record, ...]
    baseline: Packed
    result: Packed
    torch_baseline: Quality
    torch_result: Quality
    changes: str = Field(description="layers before (-) and after (+)")

    @property
    def drop(self) -> float:
        """Primary score lost from the baseline's bundle to the result's."""
        return self.baseline.quality.value - self.result.quality.value

    @property
    def missed(self) -> str | None:
        """Why the gate was missed and what to do, or None when it was met."""
        gate, before, after = self.recipe.gate, self.baseline.quality, self.result.quality
        if not self.drop <= gate.max_drop:  # neither is NaN
            return (
                f"{after.primary} fell by {self.drop:.2f}, from {before.value:.2f} to "
                f"{after.value:.2f}, allowed is {gate.max_drop:g}: prune less or fine-tune longer"
            )
        if gate.min_score is not None and after.value < gate.min_score:
            return (
                f"{after.primary} is {after.value:.2f}, wanted is {gate.min_score:g}: train longer "
                "or use a larger network"
            )
        return None


class Row(Frozen):
    """One line of the before/after table."""

    name: str
    before: str
    after: str
    change: str


def rows(report: Report) -> list[Row]:
    """The before/after table: scores of the bundles and of torch, then costs."""
    before, after = report.baseline.manifest.result, report.result.manifest.result
    found = []
    for name, old in report.baseline.quality.scores.items():
        new = report.result.quality.scores[name]
        found.append(_score(f"{name} ({report.split}, TFLite)", old, new))
        one, two = report.torch_baseline.scores[name], report.torch_result.scores[name]
        found.append(_score(f"{name} ({report.split}, torch)", one, two))
    found += [
        _cost("multiply-accumulates, M", before.macs / 1e6, after.macs / 1e6),
        _cost("parameters, thousands", before.parameters / 1e3, after.parameters / 1e3),
        _cost("model.tflite, kB", before.bytes / 1e3, after.bytes / 1e3),
        _cost("latency p50, ms", before.latency.p50_ms, after.latency.p50_ms),
        _cost("latency p95, ms", before.latency.p95_ms, after.latency.p95_ms),
        _cost("latency p99, ms", before.latency.p99_ms, after.latency.p99_ms),
    ]
    return found


def layers(exported: Exported) -> list[tuple[Layer, str]]:
    """What the audit found of every layer with weights, and its SQNR in dB where it was measured.

    Errors are listed in the order of execution, as the audit's layers are.
    """
    left = list(exported.errors)
    found = []
    for layer in exported.audit.layers:
        same = [e for e in left if (e.layer, e.operator) == (layer.name, layer.operator)]
        if same:
            left.remove(same[0])
        found.append((layer, f"{same[0].sqnr_db:.1f}" if same else ""))
    return found


def table(report: Report) -> Table:
    """The same for the terminal."""
    shown = Table(title=f"{report.recipe.name}, seed {report.seed}")
    for column in ("", "baseline", "compressed", "change"):
        shown.add_column(column, justify="left" if not column else "right")
    for row in rows(report):
        shown.add_row(row.name, row.before, row.after, row.change)
    return shown


def write(report: Report, out: Path) -> None:
    """Write report.json and report.html."""
    files.write_bytes(out / "report.json", report.model_dump_json(indent=1).encode())
    drawn = [(record.kind, record.figures) for record in report.stages]
    drawn.append(("quantize", report.result.exported.figures))
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template(TEMPLATE).render(
        report=report,
        rows=rows(report),
        cuts=[(index, record.plan) for index, record in enumerate(report.stages) if record.plan],
        pareto=Markup(plots.pareto(report)),
        curves=Markup(plots.curves(report.stages)),
        channels=Markup(plots.channels(report.stages)),
        figures=[(kind, Markup(plots.figures(found))) for kind, found in drawn if found],
        layers=layers(report.result.exported),
        latency=report.result.manifest.result.latency,
        gate_met=report.missed is None,
    )
    files.write_bytes(out / "report.html", page.encode())


def _score(name: str, before: float, after: float) -> Row:
    return Row(
        name=name, before=f"{before:.2f}", after=f"{after:.2f}", change=f"{after - before:+.2f}"
    )


def _cost(name: str, before: float, after: float) -> Row:
    change = f"÷ {before / after:.2f}" if after else ""
    digits = 2 if before >= 1 else 4  # a frame takes microseconds, a photo milliseconds
    return Row(
        name=name, before=f"{before:,.{digits}f}", after=f"{after:,.{digits}f}", change=change
    )
