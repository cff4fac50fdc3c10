"""What a network prints when it runs alone is what it is."""

import re

import pytest
import torch
from torch import Tensor

from compress import count, proof
from models.fullsubnet import FullSubNet
from tests.models.test_fullsubnet import lively


def test_a_network_proves_itself(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    net = lively(FullSubNet(9, "complex", (6,), (5,), 2))
    stream = net.stream()
    proof.prove("tiny", net, 9)
    text = capsys.readouterr().out
    macs = count.macs(stream, torch.rand(1, 9), *stream.start())
    assert f"tiny: {count.parameters(net):,} parameters, {macs:,} MAC/frame" in text
    assert "looks 2 frames ahead; 7 state tensors" in text
    past, future = re.findall(r"\(([0-9.e+-]+)\)", text)
    assert float(past) == 0 < float(future)
    difference = re.search(r"stream − offline over 100 frames: (\S+)", text)
    assert difference is not None
    assert float(difference[1]) <= 1e-5
    nodes = re.search(r"TFLite: (\d+) nodes", text)
    assert nodes is not None
    assert 30 < int(nodes[1]) < 70


def test_a_network_that_hears_the_future_is_found_out() -> None:
    class Clairvoyant(FullSubNet):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * x.mean()

    past, _, difference = proof._differences(
        lively(Clairvoyant(9, "complex", (6,), (5,), 2)), torch.rand(1, 9, proof.FRAMES)
    )
    assert past > 1e-4
    assert difference > 1e-4
