"""Made-up voices and noises in the standard form, and a recipe that is scored on them."""

from pathlib import Path

import numpy as np
import soundfile

from compress.speech import Samples
from scripts.speech_systems import RATE

RECIPE = """
name = "tiny"
task = "enhancer"
[data]
clean = ["clean"]
noise = ["noise"]
description = "made up"
licence = "none"
[score]
seconds = 1.2
validation = 3
test = 2
[baseline]
epochs = 1
lr = 1e-3
[[steps]]
kind = "quantize"
scheme = "fp16"
[gate]
max_drop = 1.0
"""


def noise(seconds: float, seed: int) -> Samples:
    generator = np.random.default_rng(seed)
    return generator.standard_normal(int(seconds * RATE)).astype(np.float32) * 0.1


def write(tmp_path: Path) -> Path:
    """Six speakers' clean sound, bursts of noise, and six steady noises; a recipe beside them."""
    where = tmp_path / "data"
    bursts = np.repeat(np.tile([1.0, 0.02], 8), RATE // 8).astype(np.float32)
    for index in range(6):
        for name, sound in (
            ("clean", noise(2, index) * bursts),
            ("noise", 0.3 * noise(2, 10 + index)),
        ):
            (where / name).mkdir(parents=True, exist_ok=True)
            soundfile.write(where / name / f"{name}{index}.wav", sound, RATE)
    (tmp_path / "tiny.toml").write_text(RECIPE)
    return where
