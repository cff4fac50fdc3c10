"""Networks of any form: several inputs, indices among them, and answers in any nest."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compress import allocation, count, prune, repair
from compress.passes import answers
from compress.statistics import Calibration
from compress.steps import Prune
from device.errors import FieldwrenError
from tests.compress import real


class Described(nn.Module):
    """A photo and two words about it → scores, in whatever form."""

    def __init__(self, form: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.form = form
        self.words, self.one = nn.Embedding(10, 6), nn.Conv2d(3, 16, 3)
        self.two, self.classifier = nn.Linear(22, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor, words: Tensor) -> Any:
        seen = F.relu(self.one(x)).mean((2, 3))
        joined = torch.cat((seen, self.words(words).mean(1)), 1)
        return self.form(self.classifier(F.relu(self.two(joined))))


FORMS: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda y: y,
    "tuple with nothing": lambda y: (y, (2 * y, None)),
    "dict": lambda y: {"logits": y, "best": y.argmax(1), "sure": y > 0},
    "constant beside": lambda y: [y, torch.ones(2)],
}


def _described(name: str) -> tuple[Described, tuple[Tensor, Tensor]]:
    torch.manual_seed(0)
    words = torch.tensor([[1, 2], [3, 4]])
    return Described(FORMS[name]).eval(), (real.photos(16), words)


@pytest.mark.parametrize("name", FORMS)
def test_any_inputs_and_answers_can_be_pruned(name: str) -> None:
    net, example = _described(name)
    step = Prune(kind="prune", criterion="l1", macs=0.5, round_to=1)
    plan = allocation.make_plan(net, example, [net.classifier], step, 0)
    assert {cut.layer for cut in plan.cuts} == {"one", "two"}
    whole = answers(net(*example))[0]
    masked = prune.mask(copy.deepcopy(net), example, plan)
    removed = prune.remove(copy.deepcopy(net), example, plan)
    one, other = (answers(pruned(*example))[0] for pruned in (masked, removed))
    assert torch.allclose(one, other, atol=1e-5, rtol=0)
    assert not torch.allclose(one, whole, atol=1e-4, rtol=0)
    assert count.macs(removed, *example) <= 0.5 * count.macs(net, *example)


def test_several_inputs_are_measured_and_repaired() -> None:
    net, example = _described("tensor")
    original, labels = copy.deepcopy(net), torch.tensor([0, 1])
    batches = [(*example, labels), (example[0].flip(0), example[1].flip(0), labels.flip(0))]

    def loss(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        return F.cross_entropy(net(*batch[:2]), batch[2])

    step = Prune(kind="prune", criterion="taylor", scope="sensitivity", ratio=0.4, round_to=1)
    calibration = Calibration(net, loss, batches)
    plan = allocation.make_plan(net, example, [net.classifier], step, 0, calibration)
    prune.remove(net, example, plan)
    repair.repair(net, original, example, plan, loss, batches)
    assert net.one.out_channels + net.two.out_features < 20


def test_an_answer_without_tensors_is_said() -> None:
    with pytest.raises(FieldwrenError, match=r"answers with a dict .* no tensor .* return tensors"):
        answers({"best": torch.tensor([1]), "more": None})


def test_a_batch_of_one_is_no_list_of_inputs() -> None:
    """Without a norm, layers take [3, 16, 16] as well: then the channels would be another axis."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    shapes = []
    net[0].register_forward_hook(lambda layer, inputs, y: shapes.append(y.ndim))
    prune.score_groups(net, real.photos(16)[:1], [net[2]], "l1", 0)
    assert shapes == [4]


def test_a_list_of_inputs_is_refused() -> None:
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4))
    step = Prune(kind="prune", criterion="l1", ratio=0.5)
    with pytest.raises(FieldwrenError, match=r"^example: a list is no input"):
        allocation.make_plan(net, [torch.rand(1, 3)], [net[2]], step, 0)  # type: ignore[arg-type]
