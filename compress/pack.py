"""Put a model and its figures into a signed bundle that the device loads."""

import importlib.metadata
import platform
import shutil
from pathlib import Path
from typing import Literal, cast

import torch
from torch import nn

from compress import count, export, measure
from compress.recipe import Recipe
from compress.steps import Quantize
from compress.task import Quality, Task
from device import bundle, files, signing
from device.manifest import Figures, Frozen, Manifest

TOOLS = (
    "ai-edge-litert",
    "ai-edge-quantizer",
    "litert-torch",
    "lightning-fabric",
    "numpy",
    "torch",
    "torch-pruning",
)
LATENCY_INPUTS = 50


class Packed(Frozen):
    """A bundle on disk and what was found while it was made."""

    path: Path
    manifest: Manifest
    exported: export.Exported
    scheme: str
    quality: Quality
    split: str


def pack(
    task: Task,
    net: nn.Module,
    recipe: Recipe,
    seed: int,
    *,
    numbers: Quantize,
    target: Path,
    split: str,
    baseline: Packed | None = None,
) -> Packed:
    """Export `net`, score it through device code, time it, and write the bundle `target`.

    The bundle is made beside `target` and takes its place when it is complete.
    """
    deployed = task.deploy(net)
    folder = target.parent / f".{target.name}.new"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model = folder / bundle.MODEL
    exported = export.export(deployed, numbers, model, folder / bundle.GOLDEN)
    if deployed.labels:
        (folder / bundle.LABELS).write_text("\n".join(deployed.labels) + "\n", encoding="utf-8")
    example = tuple(torch.from_numpy(deployed.examples[0][name]) for name in deployed.inputs)
    keys = {spec.name: spec.key for spec in exported.inputs}
    inputs = [
        {keys[name]: value for name, value in values.items()}
        for values in deployed.examples[:LATENCY_INPUTS]
    ]
    figures = Figures(
        quality={},
        macs=count.macs(deployed.net, *example),
        parameters=count.parameters(deployed.net),
        bytes=model.stat().st_size,
        latency=measure.latency(model, inputs, recipe.measure),
    )
    manifest = Manifest(
        schema_=1,
        name=target.name,
        version=recipe.version,
        task=cast(Literal["classify", "enhance"], task.kind),
        inputs=exported.inputs,
        outputs=exported.outputs,
        states=deployed.states,
        preprocessing=deployed.preprocessing,
        golden_tolerance=max(exported.golden_tolerances.values()),
        golden_tolerances=exported.golden_tolerances,
        parent=baseline.manifest.files[bundle.MODEL] if baseline else None,
        recipe=recipe.text,
        seed=seed,
        data=task.data(),
        tools=tools(),
        baseline=baseline.manifest.result if baseline else None,
        result=figures,
        files={
            name: files.sha256(folder / name)
            for name in (bundle.MODEL, bundle.GOLDEN, bundle.LABELS)
            if (folder / name).is_file()
        },
    )
    # scored through the bundle itself, so the manifest is written twice: first without scores
    bundle.write_manifest(folder, manifest)
    loaded = bundle.load(folder, policy=signing.Policy.OFF)
    quality = task.evaluate_deployed(loaded, split)
    result = figures.model_copy(update={"quality": dict(quality.scores)})
    manifest = manifest.model_copy(
        update={"result": result, "temperature": task.temperature(loaded)}
    )
    bundle.write_manifest(folder, manifest)
    bundle.sign(folder, signing.own_key())
    bundle.load(folder, policy=signing.Policy.REQUIRED)
    shutil.rmtree(target, ignore_errors=True)
    folder.replace(target)
    return Packed(
        path=target,
        manifest=manifest,
        exported=exported,
        scheme=numbers.scheme,
        quality=quality,
        split=split,
    )


def tools() -> dict[str, str]:
    """Versions of what made the bundle."""
    found = {name: importlib.metadata.version(name) for name in TOOLS}
    return {"python": platform.python_version(), **found}
