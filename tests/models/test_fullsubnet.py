"""FullSubNet and its hybrid with a TCN: the published cost, no future, one network in two forms."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress import count, prune
from compress.rnn.adopt import adopt
from device.errors import FieldwrenError
from models import fullsubnet_parts as parts
from models.fullsubnet import PUBLISHED, FullSubNet
from models.masks import MaskNet, stream_whole
from models.projections import Matrix
from models.recurrent import Recurrent
from models.tcn_hybrid import TCNHybrid

BANDS, FRAMES = 19, 45


def lively(net: MaskNet) -> MaskNet:
    """An untrained network whose every part shows in its mask."""
    for layer in net.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, 2)
    return net.eval()


def small(mask: str = "complex", lookahead: int = 2, memory: int | None = None) -> FullSubNet:
    torch.manual_seed(0)
    net = FullSubNet(BANDS, mask, (12, 9), (8, 7), 3, lookahead, memory)  # type: ignore[arg-type]
    lively(net)
    return net


def hybrid() -> TCNHybrid:
    torch.manual_seed(0)
    net = TCNHybrid(BANDS, hidden=16, dilations=(1, 2, 5), sub=(8, 7), reach=3)
    lively(net)
    return net


def sound(seed: int = 1, frames: int = FRAMES) -> Tensor:
    return torch.rand(1, BANDS, frames, generator=torch.Generator().manual_seed(seed))


def test_the_published_network_costs_what_is_published() -> None:
    net = FullSubNet()
    stream = net.stream()
    macs = count.macs(stream, torch.rand(1, 257), *stream.start())
    assert (count.parameters(net), macs) == PUBLISHED == (5_637_635, 471_387_392)


def test_the_hybrid_has_the_parameters_of_its_table() -> None:
    assert count.parameters(TCNHybrid()) == 6_155_828


def test_pruning_says_what_of_the_hybrid_it_cannot_follow() -> None:
    net = hybrid()
    with pytest.raises(FieldwrenError, match=r"slices axis 1 .* let time be a later axis"):
        prune.score_groups(net, sound(), [net.answer], "l1", 0)


def test_macs_of_a_sequence_are_those_of_its_frames() -> None:
    net = small(lookahead=0)
    stream = net.stream()
    frame = count.macs(stream, sound()[..., 0], *stream.start())
    assert count.macs(net, sound()) == FRAMES * frame


def _norm(values: Tensor) -> Tensor:
    """The authors' cumulative Laplace norm: [channel, value, time], each channel by itself."""
    total = values.sum(1).cumsum(-1)
    frames = torch.arange(1, values.shape[-1] + 1) * values.shape[1]
    return values / (total / frames + np.finfo(np.float32).eps)[:, None]


@torch.no_grad()
def test_it_computes_what_the_paper_says() -> None:
    """The same weights, band by band and with numpy's padding, as the formulas are written."""
    net, x = small(lookahead=2), sound()
    ahead = torch.cat((x[0], torch.zeros(BANDS, 2)), -1)
    h = _norm(ahead[None])[0].T[None]
    for lstm in net.full.lstms:  # type: ignore[union-attr]
        h, _ = lstm(h)
    full = torch.relu(net.full.linear(h))[0].T  # type: ignore[operator]
    padded = torch.from_numpy(np.pad(ahead.numpy(), ((3, 3), (0, 0)), mode="reflect"))
    masks = []
    for band in range(BANDS):
        unit = torch.cat((padded[band : band + 7], full[band : band + 1]))
        h = _norm(unit[None])[0].T[None]
        for lstm in net.sub.lstms:
            h, _ = lstm(h)
        value = net.sub.linear(h)[0, 2:].clamp(-9.9, 9.9)
        masks.append(-10 * torch.log((10 - value) / (10 + value)))
    expected = torch.stack(masks).permute(2, 0, 1).reshape(1, 2 * BANDS, FRAMES)
    torch.testing.assert_close(net(x), expected, atol=1e-4, rtol=1e-4)
    assert expected.std() > 0.1


@torch.no_grad()
@pytest.mark.parametrize(
    "net",
    [small(), small(lookahead=0), small("magnitude", 1, 7), hybrid()],
    ids=["published", "no look-ahead", "magnitude", "hybrid"],
)
def test_only_the_past_and_the_look_ahead_matter(net: MaskNet) -> None:
    x, other = sound(), sound()
    other[..., 30:] = sound(2)[..., 30:]
    change = (net(x) - net(other)).abs().amax((0, 1))
    first = 30 - net.lookahead
    assert change[:first].max() == 0
    assert change[first] > 1e-4


@torch.no_grad()
@pytest.mark.parametrize(
    "net",
    [small(), small(memory=5), small("magnitude", 0, 7), hybrid()],
    ids=["published", "forgetting", "magnitude", "hybrid"],
)
def test_the_stream_equals_the_whole(net: MaskNet) -> None:
    whole = net(sound())
    assert (stream_whole(net.stream(), sound(), net.lookahead) - whole).abs().max() <= 1e-5
    assert whole.std() > 0.01


@torch.no_grad()
def test_layers_that_compression_replaced_are_streamed_too() -> None:
    net = small()
    before = net(sound())
    adopt(net)
    assert (net(sound()) - before).abs().max() <= 1e-5
    assert (stream_whole(net.stream(), sound(), 2) - before).abs().max() <= 1e-5


@torch.no_grad()
def test_matrices_stored_whole_are_one_product_and_others_two() -> None:
    """A product, a sum and, in int8, two measured ranges less for each layer and frame."""
    net = small()
    kinds = [type(cell) for part in (net.full, net.sub) for cell in part.stream("").cells]  # type: ignore[union-attr]
    assert kinds == 4 * [parts.Cell]
    adopt(net)
    first, *_ = (layer for layer in net.modules() if isinstance(layer, Recurrent))
    columns = torch.arange(0, BANDS, 2)
    first.x.store([Matrix(BANDS, [first.x.dense()[:, columns]], columns)])
    kinds = [type(cell) for part in (net.full, net.sub) for cell in part.stream("").cells]  # type: ignore[union-attr]
    assert kinds == [Recurrent, *3 * [parts.Cell]]
    assert (stream_whole(net.stream(), sound(), 2) - net(sound())).abs().max() <= 1e-5


def test_states_are_named_once_and_start_as_silence() -> None:
    stream = small().stream()
    names = [n for s in stream.states for n in (s.spec.input, s.spec.output)]
    assert len(set(names)) == len(names) == 22
    assert {"frames", "level", "levels", "full2_c", "sub1_h", "sub1_h_next"} <= set(names)
    assert all(not value.any() for value in stream.start())


def test_the_running_mean_forgets_after_its_memory() -> None:
    level = torch.tensor([4.0, 2.0, 6.0, 0.0])
    torch.testing.assert_close(parts.running_mean(level, None), torch.tensor([4.0, 3.0, 4.0, 3.0]))
    torch.testing.assert_close(parts.running_mean(level, 2), torch.tensor([4.0, 3.0, 4.5, 2.25]))


def test_masks_are_compressed_as_published() -> None:
    mask = torch.linspace(-40, 40, 81)
    published = 10 * (1 - torch.exp(-0.1 * mask)) / (1 + torch.exp(-0.1 * mask))
    torch.testing.assert_close(parts.compress_mask(mask), published, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(parts.expand_mask(published), mask, atol=1e-3, rtol=1e-4)
    assert parts.expand_mask(torch.tensor(50.0)) == pytest.approx(52.933, abs=1e-3)


def test_a_fresh_network_lets_the_sound_through() -> None:
    torch.manual_seed(0)
    real, imaginary = FullSubNet(BANDS, "complex", (12,), (8,), 3)(sound()).chunk(2, 1)
    assert (real - 1).abs().max() < 0.2
    assert imaginary.abs().max() < 0.2
