"""Blocks take a convolution's place: shapes, sizes by the papers' formulas, lessons that help."""

import pytest
import torch
from torch import Tensor, nn

from compress import compact, count
from compress.compact import base, transfer
from compress.stages import compact as stage
from device.errors import BadInputError
from tests.compress.strides import Strides

CONVS = {
    "plain": nn.Conv2d(16, 16, 3, padding=1),
    "strided": nn.Conv2d(16, 24, 3, 2, 1, bias=False),
    "dilated": nn.Conv2d(16, 16, (3, 5), padding=(2, 4), dilation=2),
    "same": nn.Conv2d(8, 16, 5, padding="same"),
}


def _input(channels: int, examples: int = 2, size: int = 12) -> Tensor:
    """Smooth maps, of which some channels are mixtures of others, as in a trained network."""
    generator = torch.Generator().manual_seed(0)
    few = torch.randn(examples, 4, size, size, generator=generator).cumsum(-1).cumsum(-2) * 0.1
    mixed = torch.einsum("bchw,dc->bdhw", few, torch.randn(channels, 4, generator=generator))
    noise = torch.randn(examples, channels, size, size, generator=generator)
    return (mixed + 0.3 * noise).relu()


@pytest.mark.parametrize("kind", list(CONVS))
@pytest.mark.parametrize("block", list(compact.BLOCKS))
def test_a_block_has_the_shape_of_the_convolution(block: str, kind: str) -> None:
    conv = CONVS[kind]
    made = compact.BLOCKS[block].build(conv, compact.SIZES[block]).eval()
    x = _input(conv.in_channels)
    with torch.no_grad():
        assert made(x).shape == conv(x).shape
    assert count.parameters(made) < count.parameters(conv)


def test_weights_are_those_of_the_papers_formulas() -> None:
    conv = nn.Conv2d(32, 64, 3, padding=1, bias=False)

    def weights(block: str, size: float) -> int:
        made = compact.BLOCKS[block].build(conv, size)
        return sum(p.numel() for p in made.parameters() if p.ndim == 4)

    assert weights("shuffle", 4) == 32 * 64 * 9 // 4 + 64 * 64 // 4
    assert weights("fire", 0.25) == 32 * 16 + 16 * 32 + 16 * 32 * 9
    assert weights("inverted", 2) == 32 * 64 + 64 * 9 + 64 * 64
    assert weights("ghost", 2) == 32 * 32 * 9 + 32 * 9


def test_the_shuffle_lets_every_output_see_every_input() -> None:
    conv = nn.Conv2d(16, 16, 1)
    made = compact.BLOCKS["shuffle"].build(conv, 4).eval()
    for module in made.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1.0)  # nothing cancels
    x = torch.rand(1, 16, 1, 1, requires_grad=True)
    for channel in range(16):
        (gradient,) = torch.autograd.grad(made(x)[0, channel, 0, 0], x)
        assert bool((gradient != 0).all())


def test_channels_that_do_not_divide_are_refused() -> None:
    odd = nn.Conv2d(7, 11, 3, padding=1)
    for block in ("shuffle", "ghost"):
        with pytest.raises(ValueError, match="divides"):
            compact.BLOCKS[block].build(odd, compact.SIZES[block])
        with pytest.raises(ValueError, match=r"no number up to 0\.5 divides"):
            compact.BLOCKS[block].build(nn.Conv2d(8, 8, 3), 0.5)
    with pytest.raises(ValueError, match="centre"):
        compact.BLOCKS["fire"].build(nn.Conv2d(8, 8, 3), 0.25)
    with pytest.raises(ValueError, match="one output channel"):
        compact.BLOCKS["fire"].build(nn.Conv2d(8, 1, 3, padding=1), 0.25)
    assert base.divisor(4, 18, 12) == 3


@pytest.mark.parametrize("block", list(compact.BLOCKS))
def test_a_lesson_is_learnt_and_holds(block: str) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 8, 3, padding=1)
    made = compact.BLOCKS[block].build(conv, compact.SIZES[block])
    x = _input(8, examples=32)
    lesson = transfer.teach(made, conv, x, 80, 0.03, 0)
    assert lesson.after < 0.7 * lesson.before
    with torch.no_grad():
        y = conv(x[-8:])
        wrong = (made.eval()(x[-8:]) - y).square().mean() / y.var((0, 2, 3), correction=0).mean()
    assert float(wrong) == pytest.approx(lesson.after, rel=1e-4)


@pytest.mark.parametrize("block", list(compact.BLOCKS))
def test_no_harmful_convolution_is_taught(block: str) -> None:
    """A fire block squeezes to few channels and has the stride behind."""
    conv = nn.Conv2d(16, 16, 3, 2, padding=1)
    made = compact.BLOCKS[block].build(conv, compact.SIZES[block])
    with Strides() as noted:
        transfer.teach(made, conv, _input(16, examples=8), 2, 0.01, 0)
    with torch.no_grad(), Strides() as plain:
        made(_input(16))
    assert bool(plain.harmful) == (block == "fire")
    assert len(noted.harmful) == 2 * len(plain.harmful)  # before and after, where nothing is learnt


def test_a_lesson_that_does_not_help_is_forgotten() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 8, 3, padding=1)
    made = compact.BLOCKS["ghost"].build(conv, 2)
    fresh = {name: value.clone() for name, value in made.state_dict().items()}
    lesson = transfer.teach(made, conv, _input(8, examples=8), 3, 1e3, 0)
    assert lesson.after == lesson.before
    assert all(torch.equal(value, fresh[name]) for name, value in made.state_dict().items())


def test_plain_convolutions_are_named_once_and_others_stay() -> None:
    conv = nn.Conv2d(4, 4, 3)
    net = nn.ModuleDict({"a": conv, "b": conv, "c": nn.Conv2d(4, 4, 3, groups=4)})
    assert stage.named(net, ("*",)) == stage.named(net, ("a", "b", "c")) == ["a"]
    assert stage.named(net, ("b",)) == ["b"]
    with pytest.raises(BadInputError, match=r"^layers: c: no plain two-dimensional convolution"):
        stage.named(net, ("c",))
