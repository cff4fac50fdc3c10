"""Fast FullSubNet: the published cost, bands heard in turn, one network in two forms."""

import pytest
import torch
from torch import Tensor

from compress import count
from device.errors import BadInputError
from models.fullsubnet_fast import FastFullSubNet
from models.masks import stream_whole
from tests.models.test_fullsubnet import lively

BINS, BANDS, FRAMES = 65, 8, 45


def small(
    stride: int = 2,
    staggered: bool = True,
    memory: int | None = None,
    mask: str = "complex",
    normed: bool = False,
    lookahead: int = 2,
) -> FastFullSubNet:
    torch.manual_seed(0)
    net = FastFullSubNet(
        BINS,
        mask,  # type: ignore[arg-type]
        BANDS,
        encoder=(12,),
        sub=(9, 8),
        decoder=(14, 10),
        reach=2,
        stride=stride,
        staggered=staggered,
        lookahead=lookahead,
        memory=memory,
        normed=normed,
    )
    lively(net)
    return net


def sound(seed: int = 1) -> Tensor:
    return torch.rand(1, BINS, FRAMES, generator=torch.Generator().manual_seed(seed))


def test_the_published_network_costs_what_is_published() -> None:
    """62.3 M a frame: the sub-band part's 114.5 M every second frame, or half of them in each."""
    net = FastFullSubNet()
    stream = net.stream()
    assert count.parameters(net) == 6_842_895
    parts = {
        "mel": 257 * 64,
        "encoder": 4 * 384 * (64 + 384) + 4 * 257 * (384 + 257) + 257 * 64,
        "sub": 32 * (4 * 384 * (12 + 384 + 384 + 384) + 384),
        "decoder": 4 * 512 * (128 + 512 + 512 + 512) + 512 * 514,
    }
    assert count.macs(stream, torch.rand(1, 257), *stream.start()) == sum(parts.values())
    assert sum(parts.values()) == pytest.approx(62.3e6, rel=1e-3)


def test_half_the_width_costs_a_quarter() -> None:
    net = FastFullSubNet(encoder=(192, 128), sub=(192, 192), decoder=(256, 256))
    stream = net.stream()
    macs = count.macs(stream, torch.rand(1, 257), *stream.start())
    assert macs == pytest.approx(15.9e6, rel=0.01)
    assert count.parameters(net) == pytest.approx(1.88e6, rel=0.01)


@torch.no_grad()
@pytest.mark.parametrize("staggered", [True, False])
def test_only_the_past_and_the_look_ahead_matter(staggered: bool) -> None:
    net, other = small(staggered=staggered), sound()
    other[..., 30:] = sound(2)[..., 30:]
    change = (net(sound()) - net(other)).abs().amax((0, 1))
    assert change[:28].max() == 0
    assert change[28] > 1e-4


@torch.no_grad()
@pytest.mark.parametrize(("stride", "memory"), [(1, None), (2, None), (2, 6), (4, 5)])
def test_the_stream_equals_the_whole(stride: int, memory: int | None) -> None:
    net = small(stride, memory=memory)
    whole = net(sound())
    assert (stream_whole(net.stream(), sound(), net.lookahead) - whole).abs().max() <= 1e-5
    assert whole.std() > 0.1


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 3])
def test_the_stream_equals_the_whole_before_every_band_was_heard(frames: int) -> None:
    net, x = small(stride=4, lookahead=0).eval(), sound()[..., :frames]
    assert (net(x) - stream_whole(net.stream(), x)).abs().max() < 1e-5


@torch.no_grad()
def test_the_stream_has_what_the_batch_norms_have_learned() -> None:
    net = small(normed=True).train()
    for seed in range(20):
        net(sound(seed))
    plain = small()
    plain.load_state_dict(net.state_dict(), strict=False)
    net.eval()
    whole = net(sound())
    assert (stream_whole(net.stream(), sound(), net.lookahead) - whole).abs().max() <= 1e-5
    assert (plain(sound()) - whole).abs().max() > 0.1


@torch.no_grad()
def test_a_magnitude_mask_is_streamed_and_bounded() -> None:
    net = small(mask="magnitude")
    whole = net(sound())
    assert whole.shape == (1, BINS, FRAMES)
    assert (stream_whole(net.stream(), sound(), net.lookahead) - whole).abs().max() <= 1e-5
    assert 0 <= whole.min() < whole.max() <= 1


@pytest.mark.parametrize("seed", range(8))
def test_the_sub_band_part_can_learn_from_the_first_step(seed: int) -> None:
    """One output that all bands share: a ReLU that was shut for all of them would stay shut."""
    torch.manual_seed(seed)
    net = FastFullSubNet(mask="magnitude", encoder=(32,), sub=(16, 16), decoder=(32,))
    net(torch.rand(2, 257, 30)).sum().backward()
    weight = net.sub.linear.weight.grad
    assert weight is not None
    assert (weight != 0).all()


@torch.no_grad()
def test_bands_are_heard_in_turn() -> None:
    """Outputs change every second frame: even bands in even frames, odd bands in odd ones, and
    where they are not staggered all bands in even frames."""
    for staggered in (True, False):
        net = small(staggered=staggered)
        torch.nn.init.constant_(net.sub.linear.bias, 3.0)  # so that relu leaves changes visible
        y, e = torch.rand(2, 1, BANDS, 20)
        changed = (net._sub_bands(y, e).diff(dim=-1) != 0)[0]  # [band, frame − 1]
        even = torch.arange(1, 20) % 2 == 0
        for band in range(BANDS):
            turn = even if band % 2 == 0 or not staggered else ~even
            assert torch.equal(changed[band], turn), (staggered, band)


@torch.no_grad()
def test_all_bands_at_once_is_the_published_down_sampling() -> None:
    """Frame 0 by itself, then means of two; each output is kept for two frames."""
    net = small(staggered=False)
    y, e = torch.rand(2, 1, BANDS, 7)
    both = torch.cat((y, e), 1)
    blocks = torch.stack(
        [both[..., 0], *((both[..., i] + both[..., i + 1]) / 2 for i in (1, 3, 5))], -1
    )
    every = small(stride=1)
    every.load_state_dict(net.state_dict())
    slow = every._sub_bands(*blocks.chunk(2, 1)).repeat_interleave(2, -1)[..., :7]
    torch.testing.assert_close(net._sub_bands(y, e), slow)


def test_means_of_less_than_a_stride_are_refused() -> None:
    """The stream knows how many frames it has heard only up to the memory."""
    with pytest.raises(BadInputError, match="memory of 3 frames is less than the stride of 4"):
        small(stride=4, memory=3)


def test_what_cannot_be_streamed_is_refused() -> None:
    with pytest.raises(BadInputError, match="only a staggered"):
        small(staggered=False).stream()
    with pytest.raises(BadInputError, match="8 bands cannot be staggered over 3 frames"):
        small(stride=3)


def test_states_of_bands_wait_in_rings_for_their_turn() -> None:
    stream = small(4).stream()
    delays = {s.spec.input: [r.delays for r in s.spec.rings] for s in stream.states}
    assert delays["sub1_h"] == delays["levels"] == delays["steps"] == [(4,)]
    assert delays["heard"] == [(1, 2, 3)]
    assert delays["encoder1_c"] == delays["kept"] == delays["turn"] == []
