"""What stands between two layers: a removed channel must be nothing to it, too."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compress import allocation, count, prune
from compress.costs import Parameters, Subject
from compress.task import Deployed
from device.errors import FieldwrenError
from tests.compress.planned import images, planned, step


class Between(nn.Module):
    """Two convolutions with something between them, then a chain in which all is well."""

    def __init__(self, *between: nn.Module) -> None:
        super().__init__()
        self.first, self.between = nn.Conv2d(3, 16, 3, bias=False), nn.Sequential(*between)
        self.second, self.third = nn.Conv2d(16, 16, 3), nn.Conv2d(16, 16, 1)
        self.classifier = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.second(self.between(self.first(x))))
        logits: Tensor = self.classifier(F.relu(self.third(y)).mean((2, 3)))
        return logits


def _between(*layers: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    net = Between(*layers)
    for norm in (layer for layer in layers if isinstance(layer, nn.BatchNorm2d)):
        nn.init.uniform_(norm.running_mean, 0.2, 0.5)
        nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return net.eval()


def test_a_norm_without_scale_and_shift_keeps_a_zero_channel() -> None:
    net = _between(nn.BatchNorm2d(16, affine=False), nn.ReLU())
    plan = planned(net, step())
    assert prune.proven(net, images(1), plan) < 1e-10
    assert {cut.layer: len(cut.removed) for cut in plan.cuts}["first"] == 8


@pytest.mark.parametrize("slopes", [1, 16])
def test_a_slope_of_all_channels_stays_whatever_goes(slopes: int) -> None:
    net = _between(nn.BatchNorm2d(16), nn.PReLU(slopes))
    plan = planned(net, step(ratio=None, parameters=0.5, round_to=1))
    assert prune.proven(net, images(1), plan) < 1e-10
    masked = prune.mask(copy.deepcopy(net), images(), plan)
    slope = masked.get_submodule("between.1").weight
    assert isinstance(slope, Tensor)
    cuts = {cut.layer: cut for cut in plan.cuts}
    assert int((slope == 0).sum()) == (0 if slopes == 1 else len(cuts["first"].removed)) < 16
    cost = Parameters(Subject(net, images(), plan, _undeployed))
    removed = prune.remove(copy.deepcopy(net), images(), plan)
    assert cost.predicted(plan) == pytest.approx(count.parameters(removed))


def _undeployed(net: nn.Module) -> Deployed:
    raise AssertionError("parameters are counted without a file")


class Plus(nn.Module):
    """relu(x + 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + 1)


@pytest.mark.parametrize("last", [nn.Sigmoid(), Plus()], ids=["sigmoid", "plus"])
def test_the_layer_behind_which_zero_is_lost_is_named(last: nn.Module) -> None:
    net = _between(nn.BatchNorm2d(16), last)
    with pytest.raises(FieldwrenError, match=r'differ by .* keep = \["first"\] leaves') as refused:
        planned(net, step())
    assert "second" not in str(refused.value)
    head = [net.get_submodule("classifier"), net.get_submodule("first")]
    plan = allocation.make_plan(net, images(), head, step(), 0)
    assert {cut.layer for cut in plan.cuts} == {"second", "third"}
