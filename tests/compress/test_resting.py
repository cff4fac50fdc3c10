"""What measures a network leaves it as it was found: a stem frozen in evaluation mode stays so."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from compress import count, prune
from compress.resting import differentiable, resting
from compress.sizes import Sizes
from compress.statistics import Calibration
from tests.compress import graphs

X = torch.zeros(2, 3, 16, 16)


def _groups(net: nn.Module) -> prune.Plan:
    return prune.untouched(prune.score_groups(net, X, [net.get_submodule("classifier")], "l1", 0))


def _calibrate(net: nn.Module) -> object:
    batches = [(X, torch.zeros(2))]
    calibration = Calibration(net, lambda net, batch: net(batch[0]).sum(), batches)
    return calibration.forward(lambda layer, x, y: y.sum()), list(calibration.gradients())


@pytest.mark.parametrize(
    "measure",
    [
        lambda net: count.macs(net, X),
        _groups,
        lambda net: Sizes(net, X, _groups(net)),
        lambda net: prune.remove(net, X, _groups(net)),
        _calibrate,
    ],
    ids=["count", "score", "sizes", "remove", "calibration"],
)
def test_every_module_keeps_its_mode(measure: Callable[[nn.Module], object]) -> None:
    net = graphs.make("chain").train()
    stem = net.get_submodule("layers.0").eval()
    stem.requires_grad_(False)
    measure(net)
    assert net.training and net.get_submodule("layers.1").training
    assert not any(module.training for module in stem.modules())
    assert not any(parameter.requires_grad for parameter in stem.parameters())


@pytest.mark.parametrize("context", [resting, differentiable])
def test_also_after_an_error(context: Callable[[nn.Module], object]) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).train()
    net[0].eval().requires_grad_(False)
    modes: list[bool] = []

    def broken(x: Tensor) -> None:
        modes.extend(module.training for module in net.modules())
        raise ValueError

    with pytest.raises(ValueError), context(net):
        broken(X)
    assert modes == [False] * 3
    assert [module.training for module in net.modules()] == [True, False, True]
    assert not net[0].weight.requires_grad
