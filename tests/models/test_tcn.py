"""The causal TCN: no look-ahead, one network in two forms, prunable, small when converted."""

import numpy as np
import pytest
import torch
import torch_pruning
from torch import Tensor, nn

from compress import count
from compress.lowrank import FORMS, base
from compress.stages import lowrank
from device.rings import Rings
from models.masks import stream_whole
from models.tcn import COMPLEX_LIMIT, LARGE, TCN, Stream

INPUTS, FRAMES = 10, 220


def network(mask: str = "magnitude") -> TCN:
    """A small network whose BatchNorm has seen data and whose every weight matters."""
    torch.manual_seed(0)
    net = TCN(INPUTS, 8, mask, residual=16, hidden=24, dilations=(1, 2, 4, 1, 16))  # type: ignore[arg-type]
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm1d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias)
    nn.init.normal_(net.leave.weight)
    for _ in range(20):
        net(2 * torch.rand(4, INPUTS, 60))
    return net.eval()


def sound(seed: int = 1) -> Tensor:
    return 2 * torch.rand(1, INPUTS, FRAMES, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_only_the_past_matters() -> None:
    net, x = network(), sound()
    other = x.clone()
    other[..., 150:] = sound(2)[..., 150:]
    before, after = net(x), net(other)
    assert torch.equal(before[..., :150], after[..., :150])
    assert (before[..., 150] - after[..., 150]).abs().max() > 1e-3


@torch.no_grad()
def test_a_frame_ahead_is_heard_and_no_more() -> None:
    net, x = network(), sound()
    net.lookahead = 1
    other = x.clone()
    other[..., 150:] = sound(2)[..., 150:]
    before, after = net(x), net(other)
    assert torch.equal(before[..., :149], after[..., :149])
    assert (before[..., 149] - after[..., 149]).abs().max() > 1e-3
    assert (stream_whole(net.stream(), x, 1) - before).abs().max() <= 1e-5


@torch.no_grad()
def test_the_past_matters_as_far_as_the_dilations_reach() -> None:
    """Receptive field: 1 + 2·Σ dilations frames, here 49."""
    net, x = network(), sound()
    for block in net.blocks:
        nn.init.constant_(block.taps.weight, 1.0)  # type: ignore[union-attr,arg-type]
    other = x.clone()
    other[..., 100] += 1
    changed = (net(x) - net(other)).abs().amax((0, 1)) > 0
    assert changed[100:].nonzero().max() == 2 * (1 + 2 + 4 + 1 + 16)


@torch.no_grad()
@pytest.mark.parametrize("mask", ["magnitude", "complex"])
def test_streaming_with_the_hosts_rings_equals_offline(mask: str) -> None:
    net, x = network(mask), sound()
    stream = net.stream()
    rings = Rings(stream.states[0].spec.rings)
    masks = []
    for frame in x[0].T:
        out, newest = stream(frame[None], torch.from_numpy(rings.delayed()))
        rings.push(newest.numpy())
        masks.append(out)
    streamed = torch.stack(masks, -1)
    assert (streamed - net(x)).abs().max() <= 1e-5
    assert (streamed - stream_whole(stream, x)).abs().max() <= 1e-6


def test_masks_are_bounded_and_start_transparent() -> None:
    for mask, limit, lowest in (
        ("magnitude", 1.0, 0.0),
        ("complex", COMPLEX_LIMIT, -COMPLEX_LIMIT),
    ):
        with torch.no_grad():
            values = network(mask)(1e4 * sound())
        assert values.max() <= limit
        assert values.min() >= lowest
    torch.manual_seed(0)
    fresh = TCN(INPUTS, 8, "complex", residual=16, hidden=24, dilations=(1, 2)).eval()
    real, imaginary = fresh(sound()).chunk(2, 1)
    assert (real - 1).abs().max() < 0.5
    assert imaginary.abs().max() < 0.5


@torch.no_grad()
def test_factorised_network_streams_like_it_runs_offline() -> None:
    """Low rank puts chains in the place of 1×1 convolutions; norms fold into their last ones."""
    net, x = network(), sound()
    before = net(x)
    for name in lowrank.candidates(net, ()):
        conv = net.get_submodule(name)
        assert isinstance(conv, nn.Conv1d)
        net.set_submodule(name, base.factorised(FORMS["channel"], conv, (6,)))
    assert (net(x) - before).abs().max() > 1e-2
    stream = net.stream()
    assert len([module for module in stream.modules() if isinstance(module, nn.Linear)]) == 2 * 12
    assert (stream_whole(stream, x) - net(x)).abs().max() <= 1e-5
    assert net.answer is net.get_submodule("leave.1")


def test_the_large_form_has_the_size_of_the_published_one() -> None:
    assert f"{count.parameters(TCN(**LARGE)) / 1e6:.2f}" == "6.16"


def test_pruned_network_streams_like_it_runs_offline() -> None:
    """torch-pruning may remove hidden and residual channels; both forms stay one network."""
    net, x = network(), sound()
    pruner = torch_pruning.pruner.BasePruner(
        net,
        x,
        importance=torch_pruning.importance.MagnitudeImportance(p=1),
        pruning_ratio=0.5,
        ignored_layers=[net.leave],
    )
    pruner.step()
    blocks = list(net.blocks)
    assert net.enter.out_channels == 8
    assert [block.expand.out_channels for block in blocks] == [12] * 5
    assert net.leave.out_channels == 8
    stream = net.eval().stream()
    assert [ring.width for ring in stream.states[0].spec.rings] == [12] * 5
    with torch.no_grad():
        assert (stream_whole(stream, x) - net(x)).abs().max() <= 1e-5


def test_state_describes_every_block() -> None:
    stream = Stream(network())
    assert [(r.width, r.delays) for r in stream.states[0].spec.rings] == [
        (24, (2 * d, d)) for d in (1, 2, 4, 1, 16)
    ]
    assert stream.past_taps.shape == (1, 5 * 2 * 24)
    assert np.isfinite(stream.past_taps.numpy()).all()
