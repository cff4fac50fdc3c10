"""What a network prints when it runs alone is what it is."""

import re

import pytest
import torch
from torch import Tensor

from compress import count, proof
from device.errors import FieldwrenError
from models.fullsubnet import FullSubNet
from tests.models.test_fullsubnet import lively


def test_a_network_proves_itself(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    net = lively(FullSubNet(9, "complex", (6,), (5,), 2))
    stream = net.stream()
    figures = proof.prove("tiny", net, 9)
    text = capsys.readouterr().out
    macs = count.macs(stream, torch.rand(1, 9), *stream.start())
    assert figures == (count.parameters(net), macs)
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


class Clairvoyant(FullSubNet):
    """Its loudness is that of all frames."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * x.mean()


class Louder(FullSubNet):
    """Trained as something else than what is streamed."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.01 * super().forward(x)


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (Clairvoyant, r"not causal: .* from frame 60 on changes masks before frame 58 by \d"),
        (Louder, r"its stream differs from its offline form by \d.*, allowed 1e-05"),
    ],
)
def test_a_network_that_may_not_be_streamed_is_refused(
    network: type[FullSubNet], reason: str
) -> None:
    torch.manual_seed(0)
    with pytest.raises(FieldwrenError, match=f"tiny.*{reason}"):
        proof.prove("tiny", lively(network(9, "complex", (6,), (5,), 2)), 9)
