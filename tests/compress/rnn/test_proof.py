"""The proof looks at every answer; only states that follow their units may be others."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from compress.rnn import proof, wires
from compress.rnn.adopt import adopt, recurrent
from compress.stages import STAGES
from compress.stages.base import Context, Outcome
from compress.steps import Step
from compress.task import Task
from device.errors import FieldwrenError
from tests.compress.rnn.test_adopt import Sequence, inputs

UNITS = {"kind": "rnn-units", "criterion": "l1", "ratio": 0.4, "round_to": 1}
COLUMNS = {"kind": "rnn-columns", "criterion": "l1", "ratio": 0.9}


def run(net: nn.Module, table: dict[str, Any], folder: Path, **more: object) -> Outcome:
    step = TypeAdapter[Any](Step).validate_python({**table, **more})
    context = Context(cast(Task, None), 0, inputs(), copy.deepcopy(net), folder / "checkpoint")
    return STAGES[table["kind"]].run(context, net, step)


class Cells(nn.Module):
    """Answers with what it makes of the last layer's cell, too."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out, self.other = nn.LSTM(5, 8, 2), nn.Linear(8, 3), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, (_, c) = self.rnn(x)
        return self.out(y), self.other(c[-1])


def test_a_second_answer_is_compared(tmp_path: Path) -> None:
    """Beside a wider layer the states keep their width, and hold other units."""
    torch.manual_seed(0)
    reason = r"rnn\.layers\.1: units cannot go: .* differ in answer 2 by .*name the layer in keep"
    with pytest.raises(FieldwrenError, match=reason):
        run(adopt(Cells()).eval(), UNITS, tmp_path, keep=["rnn.layers.0"])
    outcome = run(Cells().eval(), UNITS, tmp_path, keep=["rnn.layers.1"])
    assert outcome.mask_error is not None and outcome.mask_error <= 1e-5


class Products(nn.Module):
    """Two layers whose outputs are read apart for one answer and together for another."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.LSTM(5, 8), nn.LSTM(5, 8)
        self.first, self.second = nn.Linear(8, 3), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self.a(x)[0], self.b(x)[0]
        return self.first(a) + self.second(b), (a * b).sum(-1)


def test_units_that_meet_others_in_a_second_answer_do_not_go(tmp_path: Path) -> None:
    torch.manual_seed(0)
    reason = r"^a\.layers\.0, b\.layers\.0: units cannot go: .* differ in answer 2 by"
    with pytest.raises(FieldwrenError, match=reason):
        run(Products().eval(), UNITS, tmp_path)


class Sums(nn.Module):
    """What the second layer does not read any more is in the second answer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.LSTM(5, 12), nn.LSTM(12, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a = self.a(x)[0]
        return self.b(a)[0], a.square().sum(-1)


def test_units_that_only_another_answer_reads_stay(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Sums().eval()
    run(net, COLUMNS, tmp_path)
    assert recurrent(net)["a.layers.0"].units == 12
    assert "a.layers.0" in wires.dead(net, wires.readers(net, inputs()))


class Nested(nn.Module):
    """States beside the answer, in one of the forms that networks have for them."""

    def __init__(self, form: Callable[[Tensor, Tensor, Tensor], object]) -> None:
        super().__init__()
        self.form, self.rnn, self.out = form, nn.LSTM(5, 8, 2), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> object:
        y, (h, c) = self.rnn(x)
        return self.form(self.out(y), h, c)


@pytest.mark.parametrize("keep", [[], ["rnn.layers.0"], ["rnn.layers.1"]])
@pytest.mark.parametrize(
    "form",
    [
        lambda y, h, c: (y, h, c),
        lambda y, h, c: [y, [(h, c), None], 3],
        lambda y, h, c: {"answer": y, "states": {"h": h, "c": c}},
        lambda y, h, c: (y, [(h[i], c[i]) for i in range(2)]),
        lambda y, h, c: {0: y.argmax(-1), "log": y.masked_fill(y > 0, -torch.inf), "none": y[:0]},
        lambda y, h, c: (y > 0, torch.complex(y, y)),
    ],
)
def test_states_follow_their_units_wherever_they_are(
    form: Callable[[Tensor, Tensor, Tensor], object], keep: list[str], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net = adopt(Nested(form)).eval()
    run(net, UNITS, tmp_path, keep=keep)
    assert [layer.units for layer in recurrent(net).values()] == (
        [8 if f"rnn.layers.{index}" in keep else 5 for index in range(2)]
    )


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        (lambda y, h, c: (y, h.sum(-1) + c.square().sum(-1), torch.cat((h, c), -1)),
         r"answer 3 by \[2, 3, 16\] and \[2, 3, 10\] in shape"),
        (lambda y, h, c: (h, y), r"answer 1 by \[2, 3, 8\] and \[2, 3, 5\] in shape"),
        (lambda y, h, c: ((), {}), "answers with no tensor"),
        (lambda y, h, c: (y, {"states": {h}}), "answers with a set, which cannot be compared"),
    ],
)  # fmt: skip
def test_an_answer_that_is_no_state_and_another_is_refused(
    form: Callable[[Tensor, Tensor, Tensor], object], reason: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    with pytest.raises(FieldwrenError, match=reason):
        run(Nested(form).eval(), UNITS, tmp_path)


def test_another_answer_in_a_dict_is_seen() -> None:
    torch.manual_seed(0)
    net = adopt(Nested(lambda y, h, c: {"a": y, "b": [y, (2 * y,)]}))
    other = copy.deepcopy(net)
    other.form = lambda y, h, c: {"a": y, "b": [y, (2 * y + (y > 0.1),)]}
    assert proof.agreement(net, copy.deepcopy(net), inputs()) == 0
    with pytest.raises(FieldwrenError, match="differ in answer 3 by 1, allowed 1e-05"):
        proof.agreement(net, other, inputs())


class Translator(nn.Module):
    """A decoder that begins where an encoder ended."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.LSTM(5, 8), nn.LSTM(5, 8)
        self.out, self.also = nn.Linear(8, 3), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, state = self.encoder(x)
        z, _ = self.decoder(x.flip(0), state)
        return self.out(z), self.also(y)


def test_what_cannot_lose_units_is_named(tmp_path: Path) -> None:
    torch.manual_seed(0)
    both = r"^encoder\.layers\.0, decoder\.layers\.0: units cannot go: .*name the layer in keep$"
    with pytest.raises(FieldwrenError, match=both):
        run(Translator().eval(), UNITS, tmp_path, ratio=0.6, keep=[])
    one = r"^decoder\.layers\.0: units cannot go: .*its states are \[1, 3, 5\], this one is"
    with pytest.raises(FieldwrenError, match=one):
        run(Translator().eval(), UNITS, tmp_path, keep=["encoder.layers.0"])


@pytest.mark.parametrize("value", ["nan", "inf"])
@pytest.mark.parametrize(
    "table",
    [
        UNITS,
        COLUMNS,
        {"kind": "rnn-svd", "energy": 0.9},
        {"kind": "rnn-gates", "ratio": 0.5, "window": 2, "epochs": 1, "lr": 0.005,
         "optimizer": "adamw", "precision": "32-true"},
    ],
    ids=lambda table: str(table["kind"]),
)  # fmt: skip
@pytest.mark.parametrize(
    ("weight", "name"),
    [("rnn.weight_hh_l1", "rnn.layers.1"), ("rnn.bias_ih_l0", "rnn.layers.0"), ("out.bias", "out")],
)
def test_weights_that_are_no_numbers_are_told(
    table: dict[str, Any], weight: str, name: str, value: str, tmp_path: Path
) -> None:
    net = Sequence(nn.LSTM)
    with torch.no_grad():
        net.get_parameter(weight).flatten()[1] = float(value)
    with pytest.raises(FieldwrenError, match=f"^{name}: weights are NaN or infinite"):
        run(net, table, tmp_path)
