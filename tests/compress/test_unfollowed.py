"""What torch_pruning takes for something else is refused in words, and what it advises helps."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compress import allocation, prune
from compress.prune import Plan
from compress.statistics import Calibration
from compress.steps import Prune
from compress.task import Batch
from device.errors import FieldwrenError
from tests.compress import real


def _plan(net: nn.Module, x: Tensor, criterion: str = "l1", keep: tuple[str, ...] = ()) -> Plan:
    table = {"kind": "prune", "criterion": criterion, "ratio": 0.3, "round_to": 1, "keep": keep}
    calibration = Calibration(net, _loss, [(x, torch.tensor([1, 2]))])
    head = [net.get_submodule("head")]
    return allocation.make_plan(net, x, head, Prune.model_validate(table), 0, calibration)


def _loss(net: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(net(batch[0]), batch[1])


class Shortcut(nn.Module):
    """ResNet's option A: every second pixel, and channels of zeros at both ends."""

    def __init__(self, norm: bool) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1))
        if norm:
            self.a.append(nn.BatchNorm2d(8))
        self.c, self.d = nn.Conv2d(8, 16, 3, 2, 1), nn.Conv2d(16, 16, 1)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        y = F.relu(self.c(x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4)))
        logits: Tensor = self.head(F.relu(self.d(y)).mean((2, 3)))
        return logits


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("criterion", ["l1", "random", "permutation-expected"])
def test_channels_beside_which_others_are_padded(norm: bool, criterion: str) -> None:
    torch.manual_seed(0)
    net, x = Shortcut(norm).eval(), real.photos(16)
    with pytest.raises(FieldwrenError, match=r"^c: .*F\.pad adds channels .*keep = \[.c.\] ") as no:
        _plan(net, x, criterion)
    assert "\n" not in str(no.value)
    assert [cut.layer for cut in _plan(net, x, criterion, keep=("c",)).cuts] == ["d"]


class Sound(nn.Module):
    """Two convolutions over time, and a matrix, with something between each two."""

    def __init__(self, first: str, second: str = "") -> None:
        super().__init__()
        self.first, self.second = first, second
        self.a, self.b = nn.Conv1d(3, 16, 3), nn.LazyConv1d(16, 1)
        self.c, self.head = nn.LazyLinear(12), nn.LazyLinear(5)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(_between(self.first, self.a(x)))
        z = _between(self.second, self.c(F.relu(self.b(y)).mean(2)))
        logits: Tensor = self.head(F.relu(z))
        return logits


def _between(what: str, x: Tensor) -> Tensor:
    kind, _, number = what.partition(" ")
    if kind == "glu":
        return F.glu(x, int(number))
    return F.pad(x, tuple(int(n) for n in number.split(","))) if kind == "pad" else x


def _sound(first: str, second: str = "") -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    net, x = Sound(first, second).eval(), torch.randn(2, 3, 40)
    net(x)
    return net, x


@pytest.mark.parametrize("what", ["glu 1", "glu -2", "pad 0,0,2,2", "pad 1,1,0,2"])
@pytest.mark.parametrize("criterion", ["l1", "random"])
def test_what_changes_the_number_of_channels_over_time(what: str, criterion: str) -> None:
    net, x = _sound(what)
    said = r"F\.glu halves them.*x\.chunk\(2, 1\)" if "glu" in what else r"F\.pad adds channels"
    with pytest.raises(FieldwrenError, match=rf"^a: .*{said}.*keep = \[.a.\]"):
        _plan(net, x, criterion)
    assert {cut.layer for cut in _plan(net, x, criterion, keep=("a",)).cuts} == {"b", "c"}


@pytest.mark.parametrize("what", ["glu 1", "glu -1", "pad 2,0"])
def test_what_changes_the_number_of_features(what: str) -> None:
    net, x = _sound("", what)
    said = r"F\.glu halves them" if "glu" in what else r"F\.pad adds channels"
    with pytest.raises(FieldwrenError, match=rf"^c: .*{said}.*keep = \[.c.\]"):
        _plan(net, x)


@pytest.mark.parametrize("what", ["glu 2", "glu -1", "pad 4,4", "pad 4,4,0,0"])
def test_what_changes_the_time_alone_is_no_reason(what: str) -> None:
    net, x = _sound(what)
    plan = _plan(net, x)
    assert {cut.layer for cut in plan.cuts if cut.removed} == {"a", "b", "c"}
    assert prune.difference(net, x, plan) < 1e-10


class Scaled(nn.Module):
    """One map for all channels, whichever factor comes first, or each channel by its neighbours."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.a, self.c = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3)
        self.e: nn.Module = nn.Conv2d(16, 1, 3, padding=1)
        if kind == "neighbours":
            self.e = nn.Conv1d(1, 1, 3, padding=1)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        if self.kind == "neighbours":  # ECA-Net
            gate = self.e(x.mean((2, 3))[:, None])[:, 0, :, None, None].sigmoid()
        else:
            gate = self.e(x).sigmoid()
        y = gate * x if self.kind == "gate first" else x * gate
        logits: Tensor = self.head(F.relu(self.c(y)).mean((2, 3)))
        return logits


@pytest.mark.parametrize("criterion", ["l1", "random"])
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("gate last", "torch_pruning finds only 1 of them, tied to those of e"),
        ("gate first", "torch_pruning would take the same ones from e, which has only 1"),
        ("neighbours", "torch_pruning finds only 1 of them, tied to those of e"),
    ],
)
def test_channels_that_one_channel_scales(kind: str, said: str, criterion: str) -> None:
    torch.manual_seed(0)
    net, x = Scaled(kind).eval(), real.photos(16)
    with pytest.raises(FieldwrenError, match=rf"^a: .*{said}; keep = \[.a.\] leaves"):
        _plan(net, x, criterion)
    cuts = {cut.layer: len(cut.removed) for cut in _plan(net, x, criterion, keep=("a",)).cuts}
    assert cuts["c"] > 0
    assert "a" not in cuts
