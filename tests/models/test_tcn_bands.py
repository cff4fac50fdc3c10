"""The TCN shared by bands: causal, one network in two forms, prunable inside its blocks."""

import pytest
import torch
from torch import Tensor, nn

from compress import prune
from compress.allocation import make_plan
from compress.steps import Prune
from device.memory import Memory
from models.masks import stream_whole
from models.tcn_bands import BINS, BandTCN

FRAMES = 90


def network(lookahead: int = 0, hidden: int = 12, mixed: int = 10, taps: int = 3) -> BandTCN:
    """A small network whose BatchNorm has seen data and whose every weight matters."""
    torch.manual_seed(0)
    net = BandTCN(8, hidden, 4, mixed, taps, (1, 2, 4), lookahead, memory=40)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias)
    nn.init.normal_(net.leave.weight)
    nn.init.normal_(net.place)
    for _ in range(20):
        net(2 * torch.rand(3, BINS, 40))
    return net.eval()


def sound(seed: int = 1) -> Tensor:
    return 2 * torch.rand(1, BINS, FRAMES, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
@pytest.mark.parametrize("lookahead", [0, 1])
def test_only_the_past_and_the_lookahead_matter(lookahead: int) -> None:
    net, x = network(lookahead), sound()
    other = x.clone()
    other[..., 60:] = sound(2)[..., 60:]
    change = (net(x) - net(other)).abs().amax((0, 1))
    assert change[: 60 - lookahead].max() == 0
    assert change[60 - lookahead] > 1e-3


@torch.no_grad()
@pytest.mark.parametrize(("lookahead", "taps"), [(0, 3), (1, 3), (1, 2), (0, 4)])
def test_streaming_with_the_hosts_memory_equals_offline(lookahead: int, taps: int) -> None:
    net, x = network(lookahead, taps=taps), sound()
    stream = net.stream()
    specs = [state.spec for state in stream.states]
    memory = Memory(specs, {state.spec.input: state.shape for state in stream.states})
    masks = []
    for frame in torch.cat((x[0].T, torch.zeros(lookahead, BINS))):
        inputs = memory.inputs()
        mask, *new = stream(frame[None], *(torch.from_numpy(inputs[s.input]) for s in specs))
        memory.keep({s.output: value.numpy() for s, value in zip(specs, new, strict=True)})
        masks.append(mask)
    streamed = torch.stack(masks[lookahead:], -1)
    assert (streamed - net(x)).abs().max() <= 1e-5
    assert (streamed - stream_whole(stream, x, lookahead)).abs().max() <= 1e-6


@torch.no_grad()
def test_every_band_is_heard_in_every_other() -> None:
    net, x = network(), sound()
    for bin_ in (0, 128, 255):  # the lowest most of all: rumble is there
        other = x.clone()
        other[:, bin_, 50] *= 3
        assert ((net(x) - net(other)).abs().amax((0, 2)) > 0).all()


@torch.no_grad()
def test_level_does_not_matter() -> None:
    net, x = network(), sound()
    assert (net(x) - net(30 * x)).abs().max() < 1e-2


@torch.no_grad()
def test_a_narrower_networks_weights_give_its_answer_and_what_is_new_learns() -> None:
    narrow, wide, x = network(), network(hidden=17, mixed=13, taps=4), sound()
    assert (wide(x) - narrow(x)).abs().max() > 1e-2
    wide.load_state_dict(wide.widened(narrow.state_dict()))
    assert (wide(x) - narrow(x)).abs().max() <= 1e-6
    with torch.enable_grad():
        wide(x).sum().backward()
    first = wide.blocks[0]
    new = (first.squeeze.weight.grad[:, 12:], first.unmix.weight.grad[:, 10:])
    assert all(gradient.abs().amax() > 0 for gradient in (*new, first.expand.weight.grad[:, :8]))


def test_pruned_inside_its_blocks_it_is_one_network_still() -> None:
    net, x = network(), sound()
    whole = [getattr(net, name) for name in ("leave", "windows", "enter", "unfold", "skip")]
    for block in net.blocks:
        whole += [block.squeeze, block.take, block.unmix, block.give]
    step = Prune(kind="prune", criterion="l1", ratio=0.5, round_to=1)
    plan = make_plan(net, x, whole, step, 0)
    assert prune.difference(net, x, plan) <= 1e-5
    prune.remove(net, x, plan)
    block = net.blocks[1]
    assert (block.expand.out_channels, block.mix.out_features) == (6, 5)  # type: ignore[union-attr]
    assert block.squeeze.out_channels == 8  # type: ignore[union-attr]
    with torch.no_grad():
        assert (stream_whole(net.eval().stream(), x) - net(x)).abs().max() <= 1e-5
