"""Tracing leaves a network as it was, and says what it cannot follow."""

import copy

import pytest
import torch
from torch import Tensor, nn

from compress import tracing
from compress.plans import Cut, Plan, mask, remove
from device.errors import FieldwrenError
from tests.compress import foreign, real

PLAN = Plan(cuts=(Cut(layer="a.conv", channels=16, removed=(1, 5), members=()),))


def test_tracing_leaves_no_tensor_and_no_hook_behind() -> None:
    net = foreign.Auxiliary().eval()
    tracing.traced(net, real.photos(16))
    assert "last" not in vars(net) and net.history == []
    copy.deepcopy(net)
    with pytest.raises(RuntimeError, match="expected input"):  # the network's own error
        tracing.traced(net, torch.randn(1, 7, 16, 16))
    assert not any(module._forward_hooks for module in net.modules())


def test_what_a_network_had_put_by_stays() -> None:
    net = foreign.Auxiliary().eval()
    with torch.no_grad():
        net(real.photos(16))
    last = net.last
    tracing.traced(net, real.photos(16))
    assert net.last is last and len(net.history) == 1


def test_tracing_works_where_gradients_are_off() -> None:
    net = foreign.Foreign().eval()
    with torch.no_grad():
        mask(copy.deepcopy(net), real.photos(16), PLAN)
        remove(net, real.photos(16), PLAN)
    assert net.h.weight.requires_grad


def test_a_frozen_layer_is_frozen_after_removal_too() -> None:
    net = foreign.Foreign().eval()
    frozen = {"a.conv.weight", "a.norm.bias", "b.conv.weight", "h.weight"}
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name not in frozen)
    remove(net, real.photos(16), PLAN)
    assert net.get_parameter("b.conv.weight").shape[1] == 14
    assert {n for n, p in net.named_parameters() if not p.requires_grad} == frozen


def test_what_torch_pruning_does_not_follow_is_refused_in_one_line() -> None:
    net = foreign.Regrouped().eval()
    with pytest.raises(FieldwrenError, match=r"torch_pruning does not follow .*ZeroDivision"):
        tracing.traced(net, real.photos(16))


def test_a_network_that_cannot_be_copied_is_told_why() -> None:
    net = foreign.Auxiliary().eval()
    net(real.photos(16))
    with pytest.raises(FieldwrenError, match=r"copied: history, last hangs on .*detach"):
        tracing.copied(net)


@pytest.mark.parametrize(
    ("make", "names"),
    [(foreign.Foreign, set()), (foreign.Auxiliary, {"aux"}), (foreign.Detached, {"aux"})],
)
def test_layers_without_part_in_the_answer_are_found(
    make: type[nn.Module], names: set[str]
) -> None:
    assert tracing.idle(make().eval(), real.photos(16)) == names


class Stops(nn.Module):
    """Fails in its second layer."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 5), nn.Linear(6, 7)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.two(self.one(x))
        return y


def test_the_layer_at_which_a_pass_stops_is_found() -> None:
    assert tracing.stop(Stops(), torch.randn(1, 4)) == "two"
