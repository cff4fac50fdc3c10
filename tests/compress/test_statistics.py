"""Batches of any form: whoever measures moves, slices and counts them alike."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from compress import allocation, prune, repair
from compress.statistics import Calibration, count, part, placed
from compress.steps import Prune
from device.errors import BadInputError
from tests.compress import foreign, patterns, real

LABELS = torch.tensor([0, 1, 2, 3, 4, 0])


def _images() -> Tensor:
    return F.interpolate(real.photos(16), size=16)[[0, 1, 0, 1, 0, 1]]


def test_batches_are_moved_sliced_and_counted_whatever_their_form() -> None:
    batch: Any = ({"x": _images(), "y": (_images(),)}, LABELS)
    assert count(batch) == 6
    few = part(batch, 1, 3)
    assert count(few) == 2 and torch.equal(few[1], LABELS[1:3])
    nested: Any = placed(batch, torch.device("meta"))[0]
    assert nested["y"][0].is_meta


def test_what_is_no_tensor_is_refused() -> None:
    batch: Any = (_images(), ["a", "b"])
    with pytest.raises(BadInputError, match=r"a batch holds tensors, .* here is 'a'"):
        part(batch, 0, 1)


@pytest.mark.parametrize("criterion", ["influence", "taylor", "obd", "thinet"])
@pytest.mark.parametrize("scope", ["uniform", "sensitivity"])
def test_several_inputs_nested_or_in_a_row_give_the_same(criterion: str, scope: str) -> None:
    torch.manual_seed(0)
    net = patterns.shaken(foreign.TwoInputs())
    x = _images()
    nested: Any = [((x, x.flip(3)), LABELS), ((x.flip(2), x), LABELS)]
    flat: Any = [(*pair, labels) for pair, labels in nested]
    losses: Any = (
        lambda n, b: F.cross_entropy(n(*b[0]), b[1]),
        lambda n, b: F.cross_entropy(n(*b[:2]), b[2]),
    )
    step = Prune.model_validate(
        {"kind": "prune", "criterion": criterion, "scope": scope, "ratio": 0.3, "round_to": 1}
    )
    head, example = [net.get_submodule("h")], (x[:1], x[:1])
    found = []
    for loss, batches in zip(losses, (nested, flat), strict=True):
        plan = allocation.make_plan(net, example, head, step, 0, Calibration(net, loss, batches))
        pruned = prune.remove(copy.deepcopy(net), example, plan)
        repair.repair(pruned, net, example, plan, loss, batches)
        found.append((plan, pruned.state_dict()))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(value, found[1][1][name]) for name, value in found[0][1].items())


def test_a_loss_of_every_example_is_refused() -> None:
    net = torch.nn.Linear(3, 4)
    batches: Any = [(torch.rand(6, 3), LABELS % 4)]

    def loss(net: torch.nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(net(batch[0]), batch[1], reduction="none")

    with pytest.raises(
        BadInputError, match=r"^the loss of a batch is one number, not \[6\]: .*mean"
    ):
        next(Calibration(net, loss, batches).losses())
