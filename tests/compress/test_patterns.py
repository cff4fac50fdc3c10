"""Every graph pattern: masks compute what removal computes, and removal takes what it should."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from compress import allocation, count, prune
from compress.defaults import default_data
from compress.steps import Prune
from device.errors import BadInputError, FieldwrenError
from tests.compress import patterns, real

WIDTHS = {"resnet56": 8, "densenet121": 8, "googlenet": 16}  # of the large networks, kept quick


def _image(size: int = 16) -> Tensor:
    return real.photos(size)


def _plan(net: nn.Module, x: Tensor, head: str, **changes: object) -> prune.Plan:
    table = {"kind": "prune", "criterion": "random", "ratio": 0.5, "round_to": 1, **changes}
    step = Prune.model_validate(table)
    return allocation.make_plan(net, x, [net.get_submodule(head)], step, 0)


def _build(make: Callable[[int], nn.Module], width: int) -> nn.Module:
    torch.manual_seed(0)
    return patterns.shaken(make(width))


def _halved(make: Callable[[int], nn.Module], width: int, x: Tensor, head: str) -> nn.Module:
    """Prune by half, check it against the masks and against half the width; returns the result."""
    net, small = _build(make, width), _build(make, width // 2)
    plan = _plan(net, x, head)
    masked = prune.mask(copy.deepcopy(net), x, plan)
    removed = prune.remove(copy.deepcopy(net), x, plan)
    with torch.no_grad():
        whole, one, other = net(x), masked(x), removed(x)
    assert torch.allclose(one, other, atol=1e-5, rtol=0)
    assert not torch.allclose(one, whole, atol=1e-4, rtol=0)
    shapes = {name: tuple(value.shape) for name, value in removed.state_dict().items()}
    assert shapes == {name: tuple(value.shape) for name, value in small.state_dict().items()}
    assert count.macs(removed, x) == count.macs(small, x)
    return removed


@pytest.mark.parametrize("name", patterns.SMALL)
def test_patterns_lose_half(name: str) -> None:
    _halved(patterns.SMALL[name], 16, _image(), "classifier")


@pytest.mark.parametrize("name", patterns.NETWORKS)
def test_networks_lose_half(name: str) -> None:
    _halved(patterns.NETWORKS[name], WIDTHS.get(name, 8), _image(32), "classifier")


def test_the_tcn_loses_half_of_what_it_does_to_speech() -> None:
    try:
        prompts = default_data() / "speech" / "test"
    except BadInputError as error:
        pytest.skip(f"needs the default data: {error}")
    x = real.spectrogram(min(prompts.iterdir()), 33, 40)
    assert float(x.std()) > 0.1
    _halved(patterns.tcn, 16, x, "leave")


def test_the_tcn_loses_half() -> None:
    x = torch.rand(2, 33, 40, generator=torch.Generator().manual_seed(1))
    removed = _halved(patterns.tcn, 16, x, "leave")
    # enter 33·8 + norm 2·8; per block 8·16 + 2·16 + 16·3 + 2·16 + 16·8 + 8; leave 8·33 + 33
    assert count.parameters(removed) == 264 + 16 + 3 * 376 + 297


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # stem 3·8·9 + norm 16; classifier 8·5 + 5; between them:
        ("chain", 232 + 45 + (8 * 16 * 9 + 32) + (16 * 8 * 9 + 16)),
        ("residual, identity", 232 + 45 + 2 * (8 * 8 * 9 + 16)),
        ("depthwise", 232 + 45 + 2 * (8 * 25 + 8 * 8 + 16)),
        # 8 → 16; 16 → 16 in 4 groups of 4, biased; 16 → 8
        ("grouped", 232 + 45 + (8 * 16 + 32) + (16 * 4 * 9 + 16 + 32) + (16 * 8 + 16)),
        # up 8·16·4 + 16, norm 32, each 16·9 + 16, down 16·8·9 + 16
        ("transposed", 232 + 45 + 528 + 32 + 160 + 1168),
    ],
)
def test_counts_by_hand(name: str, parameters: int) -> None:
    net = _build(patterns.SMALL[name], 16)
    removed = prune.remove(net, _image(), _plan(net, _image(), "classifier"))
    assert count.parameters(removed) == parameters


@pytest.mark.parametrize("name", [*patterns.SMALL, "vgg16", "resnet20"])
def test_every_layer_keeps_a_multiple(name: str) -> None:
    make = patterns.SMALL.get(name) or patterns.NETWORKS[name]
    net = _build(make, 64)
    before = {key: value.shape for key, value in net.state_dict().items()}
    x = _image(32)
    prune.remove(net, x, _plan(net, x, "classifier", ratio=0.3, round_to=8))
    changed = 0
    for key, value in net.state_dict().items():
        for axis, (old, new) in enumerate(zip(before[key], value.shape, strict=True)):
            # unequal portions of one layer's output are rounded together, not each
            portion = name == "split by sizes" and axis == 1
            assert new == old or new % 8 == 0 or portion
            changed += new != old
    assert changed > 3


def test_grouped_convolutions_keep_their_groups_and_positions() -> None:
    net = _build(patterns.SMALL["grouped"], 16)
    plan = _plan(net, _image(), "classifier")
    cut = next(cut for cut in plan.cuts if cut.layer == "body.second.0")
    assert (cut.channels, len(cut.removed)) == (8, 4)  # positions in each of 4 groups
    kept = [c for c in range(32) if c % 8 not in cut.removed]
    expected = net.get_submodule("body.second.1").weight[kept].detach().clone()
    removed = prune.remove(net, _image(), plan)
    assert removed.get_submodule("body.second.0").groups == 4
    assert torch.equal(removed.get_submodule("body.second.1").weight, expected)


def test_portions_by_size_may_lose_different_shares() -> None:
    net = _build(patterns.SMALL["split by sizes"], 16)
    plan = prune.Plan(
        cuts=(prune.Cut(layer="stem.conv", channels=16, removed=(0, 1, 2, 9), members=()),)
    )
    x = _image()
    assert prune.difference(net, x, plan) < 1e-10
    prune.remove(net, x, plan)
    assert net.get_submodule("body.small.conv").in_channels == 1
    assert net.get_submodule("body.large.conv").in_channels == 11


def _starved() -> nn.Module:
    """The smaller portion of a torch.split holds the weakest channels."""
    net = _build(patterns.SMALL["split by sizes"], 16)
    with torch.no_grad():
        net.get_submodule("stem.conv").weight[:4] *= 1e-3  # type: ignore[operator]
    return net


@pytest.mark.parametrize("scope", ["uniform", "global"])
def test_no_portion_is_left_empty(scope: str) -> None:
    net, x = _starved(), _image()
    plan = _plan(net, x, "classifier", criterion="l1", scope=scope)
    cut = next(cut for cut in plan.cuts if cut.layer == "stem.conv")
    assert len({0, 1, 2, 3} - set(cut.removed)) == 1
    assert cut.kept >= 4
    weights = net.get_submodule("stem.conv").weight.detach()
    best = int(weights[:4].abs().sum((1, 2, 3)).argmax())  # type: ignore[operator]
    assert best not in cut.removed
    removed = prune.remove(net, x, plan)
    assert removed.get_submodule("body.small.conv").in_channels == 1
    assert removed(x).shape == (2, 5)


def test_a_plan_that_leaves_a_portion_empty_names_its_layer() -> None:
    cut = prune.Cut(layer="stem.conv", channels=16, removed=(0, 1, 2, 3), members=())
    with pytest.raises(
        FieldwrenError, match=r"^stem\.conv: .* leaves body\.small\.conv no channel"
    ):
        prune.proven(_starved(), _image(), prune.Plan(cuts=(cut,)))


class Lambda(nn.Module):
    """A function between two convolutions."""

    def __init__(self, function: Callable[[Tensor], Tensor], between: nn.Module | None) -> None:
        super().__init__()
        self.function, self.between = function, between or nn.Identity()
        self.one, self.two = nn.Conv2d(3, 16, 3), nn.LazyConv2d(8, 1)
        self.classifier = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.function(self.between(self.one(x)))
        logits: Tensor = self.classifier(self.two(y).mean((2, 3)))
        return logits


class Recurrent(nn.Module):
    """Columns of pixels as a sequence through an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.lstm = nn.Conv2d(3, 16, 3), nn.LSTM(16, 12, batch_first=True)
        self.classifier = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        sequence, _ = self.lstm(self.one(x).mean(2).transpose(1, 2))
        logits: Tensor = self.classifier(sequence.mean(1))
        return logits


def _fixed_split(y: Tensor) -> Tensor:
    first, second = torch.split(y, [4, 12], 1)
    return torch.cat((second, first.relu()), 1) + y


def _fixed_slices(y: Tensor) -> Tensor:
    return torch.cat((y[:, :8].relu(), y[:, 8:]), 1) + y


def _shuffled(y: Tensor) -> Tensor:
    batch, _, height, width = y.shape
    return y.view(batch, 4, 4, height, width).transpose(1, 2).reshape(y.shape)


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "sizes written down": (lambda: Lambda(_fixed_split, None), "torch.split or torch.chunk"),
    "channel shuffle": (lambda: Lambda(_shuffled, None), "a reshape"),
    "group norm": (lambda: Lambda(torch.relu, nn.GroupNorm(4, 16)), "between"),
    "grouped transposed": (
        lambda: Lambda(torch.relu, nn.ConvTranspose2d(16, 16, 3, groups=4)),
        "between",
    ),
    "fewer filters than channels": (
        lambda: Lambda(torch.relu, nn.Conv2d(16, 8, 3, groups=8)),
        "between",
    ),
    "uneven chunks": (
        lambda: Lambda(lambda y: torch.cat(torch.chunk(y, 3, 1)[::-1], 1), None),
        "divides them unevenly",
    ),
    "lstm": (Recurrent, "lstm"),
}


def test_slices_of_channels_are_refused() -> None:
    net = Lambda(_fixed_slices, None).eval()
    net(_image())
    with pytest.raises(FieldwrenError, match=r"slices axis 1 .* use torch\.chunk"):
        _plan(net, _image(), "classifier")


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_pruned_is_refused_by_name(name: str) -> None:
    make, reason = REFUSED[name]
    net = make().eval()
    x = _image()
    net(x)
    with pytest.raises(FieldwrenError, match=r"channels cannot be removed.*keep = \[") as caught:
        _plan(net, x, "classifier")
    assert reason in str(caught.value)


@pytest.mark.parametrize("name", REFUSED)
def test_the_rest_of_such_a_network_can_be_pruned(name: str) -> None:
    net = REFUSED[name][0]().eval()
    x = _image()
    net(x)
    head = ["classifier", "one"]
    if name in ("grouped transposed", "fewer filters than channels"):
        head.append("between")
    step = Prune.model_validate(
        {"kind": "prune", "criterion": "random", "ratio": 0.5, "round_to": 1}
    )
    layers = [net.get_submodule(layer) for layer in head]
    if name == "lstm":
        with pytest.raises(FieldwrenError, match="nothing to prune"):
            allocation.make_plan(net, x, layers, step, 0)
        return
    plan = allocation.make_plan(net, x, layers, step, 0)
    assert [cut.layer for cut in plan.cuts] == ["two"]
    assert prune.difference(net, x, plan) < 1e-10
