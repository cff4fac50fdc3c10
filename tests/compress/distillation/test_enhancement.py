"""An enhancer learns from sound: of a foreign model, at any level, through the task's own loss."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

from compress.tasks.enhancer import Enhancer, Settings

RATE = 16_000
TABLES = {
    "data": {
        "clean": ["speech"],
        "noise": ["noise"],
        "validation_share": 0.3,
        "test_share": 0.3,
        "description": "hiss in rumble",
        "licence": "none",
    },
    "model": {"residual": 8, "hidden": 12, "dilations": [1, 2]},
    "mixing": {"seconds": 0.5, "room_share": 0, "band_share": 0, "colour_db": 0},
    "batches": {"size": 4, "steps": 1},
    "loss": {"spectrum": 20.0, "teacher": 20.0},
    "score": {"seconds": 1.2, "validation": 1, "test": 1},
}


class Says(nn.Module):
    """A model that answers with a given sound."""

    waveform = True

    def __init__(self, sound: Tensor) -> None:
        super().__init__()
        self.sound = sound

    def forward(self, noisy: Tensor) -> Tensor:
        assert noisy.shape == self.sound.shape
        return self.sound


def test_a_teachers_sound_is_worth_what_it_says(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for part in ("speech", "noise"):
        (tmp_path / part).mkdir()
        for index in range(4):
            sound = 0.1 * random.standard_normal(2 * RATE)
            if part == "speech":
                sound *= np.repeat(random.random(20) > 0.4, RATE // 10)
            soundfile.write(tmp_path / part / f"{index}-1.flac", sound, RATE)
    task = Enhancer(Settings.model_validate(TABLES), (tmp_path,))
    net = task.build().eval()
    batch = next(task.batches(0, 0))
    noisy, target = batch
    alone = task.loss(net, batch, None)
    # the clean speech itself, far too loud, asks for what the data asks for
    perfect = float((task.loss(net, batch, Says(300 * target)) - alone).detach())
    nothing = float((task.loss(net, batch, Says(noisy - target)) - alone).detach())
    assert 0 < perfect < nothing
    quiet = float((task.loss(net, batch, Says(0.01 * target)) - alone).detach())
    assert quiet == pytest.approx(perfect, rel=1e-3)
    loss = task.loss(net, batch, Says(target))
    loss.backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in net.parameters())
