"""DTLN's published network in several number formats: file size, time, and what is heard.

    python scripts/dtln_numbers.py --data DIR

DIR as for benchmarks/recipes/dtln.toml. Choices are to be made on the validation mixtures; the
pairs are VoiceBank-DEMAND's. The scores are those of the exported files, frame by frame.
"""

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).parents[1]))  # runnable by file name

from compress import defaults, export, measure, recipe
from compress.recipe import Measure
from compress.steps import Quantize
from compress.tasks import dtln
from device import errors

RECIPE = "benchmarks/recipes/dtln.toml"
ENCODE, DECODE = "encode*", "output_0"  # layers of the second part; the last is the decoder
FORMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "float32": ("fp32", ()),
    "float16": ("fp16", ()),
    "int8 weights": ("dynamic-int8", ()),
    "int8, decoder float16": ("dynamic-int8", (DECODE,)),
    "int8, encoder float16": ("dynamic-int8", (ENCODE,)),
    "int8, both float16": ("dynamic-int8", (ENCODE, DECODE)),
}
SCORES = {"si_sdr": 2, "pesq_wb": 3, "stoi": 3}  # name → decimals
COLUMNS = ("numbers", "kB", "ms a hop", "validation SI-SDR / PESQ / STOI", "pairs, the same")
cli = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)


@cli.command()
def main(data: Annotated[Path, typer.Option(help="data folder of the recipe")]) -> None:
    """Print the table."""
    settings = recipe.load(str(Path(__file__).parents[1] / RECIPE)).settings
    task = dtln.make(settings, defaults.folders(data), 0)
    parts = task.one_step(task.build().eval())
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for form, (scheme, keep) in FORMS.items():
        with tempfile.TemporaryDirectory() as folder:
            models = {name: Path(folder) / f"{name}.tflite" for name in parts}
            spent = 0.0
            for name, part in parts.items():
                kept = keep if name == "feature" else ()
                numbers = Quantize.model_validate(
                    {"kind": "quantize", "scheme": scheme, "keep": kept}
                )
                export.export(part, numbers, models[name], Path(folder) / "golden.npz")
                inputs = export.by_key(part, part.examples)
                spent += measure.latency(models[name], inputs, Measure()).p50_ms
            size = sum(model.stat().st_size for model in models.values())
            heard = [
                " / ".join(f"{scores[name]:.{digits}f}" for name, digits in SCORES.items())
                for scores in (
                    task.evaluate_files(models, split).scores for split in ("validation", "test")
                )
            ]
        print(f"| {form} | {size / 1e3:.0f} | {spent:.3f} | {' | '.join(heard)} |", flush=True)


if __name__ == "__main__":
    errors.run(cli)
