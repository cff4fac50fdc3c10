"""Every recurrent step on a small language model: proof, size, and an exact second run."""

import copy
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from compress import count, store
from compress.advance import advance
from compress.rnn import timing, wires
from compress.rnn.adopt import recurrent
from compress.rnn.forms import Shape, by_count
from compress.rnn.influence import influence
from compress.stages import rnn_columns, rnn_units
from compress.stages.base import Context
from compress.steps import RnnColumns, RnnUnits, Schedule, Step
from compress.task import Task
from compress.tasks.language import Language
from device.errors import FieldwrenError
from models.lstm_lm import LanguageModel
from tests.compress.rnn import texts

BASELINE = Schedule(
    epochs=2, lr=0.02, optimizer="adamw", precision="32-true", channels_last=False, clip=1.0
)
TUNED = {"epochs": 1, "lr": 0.005, "optimizer": "adamw", "precision": "32-true"}
STEPS = [
    {"kind": "rnn-gates", "ratio": 0.5, "window": 5, **TUNED},
    {"kind": "rnn-columns", "criterion": "l1", "ratio": 0.4},
    {"kind": "rnn-columns", "criterion": "influence", "ratio": 0.9},
    {"kind": "rnn-svd", "threshold": 0.3},
    {"kind": "rnn-svd", "energy": 0.8},
    {"kind": "rnn-svd", "parameters": 0.6},
    {"kind": "rnn-svd", "energy": 0.5, "cost": "time"},
    {"kind": "rnn-units", "criterion": "influence", "ratio": 0.5, "round_to": 2},
    {"kind": "rnn-units", "criterion": "random", "parameters": 0.7, "round_to": 1},
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Language, LanguageModel]:
    task = texts.task(tmp_path_factory.mktemp("text"), weight_drop=0.1, hidden_drop=0.1)
    torch.manual_seed(0)
    net = task.build()
    place = store.Place(tmp_path_factory.mktemp("baseline"), "key")
    record = advance(
        place, task, net, BASELINE, seed=0, example=task.example(), teacher=None, say=print
    )
    assert record.validation["ppl"] < 10  # 15 words of equal chance would be 15
    assert isinstance(net, LanguageModel)
    return task, net


def _run(
    trained: tuple[Language, LanguageModel], folder: Path, *tables: dict[str, object]
) -> tuple[list[store.Record], LanguageModel]:
    task, baseline = trained
    net, teacher, records = copy.deepcopy(baseline), copy.deepcopy(baseline), []
    for index, table in enumerate(tables):
        step = TypeAdapter(Step).validate_python(table)
        place = store.Place(folder / str(index), f"key{index}")
        records.append(
            advance(
                place, task, net, step, seed=0, example=task.example(), teacher=teacher, say=print
            )
        )
    return records, net


@pytest.mark.parametrize("table", STEPS, ids=lambda t: "-".join(map(str, t.values()))[:40])
def test_a_step_is_proved_and_taken_up_again(
    trained: tuple[Language, LanguageModel], table: dict[str, object], tmp_path: Path
) -> None:
    task, baseline = trained
    (record,), net = _run(trained, tmp_path, table)
    assert record.mask_error is not None and record.mask_error <= 1e-5
    if table.get("cost") != "time":
        assert record.parameters == count.parameters(net) < count.parameters(baseline)
    if "parameters" in table:
        assert record.parameters <= table["parameters"] * count.parameters(baseline)
    (again,), other = _run(trained, tmp_path, table)
    assert again == record
    state, words = net.state_dict(), task.example()
    assert all(torch.equal(value, state[name]) for name, value in other.state_dict().items())
    with torch.no_grad():  # where weights lie in memory may decide about a last bit
        torch.testing.assert_close(net.eval()(words)[0], other.eval()(words)[0])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ratio": 0.2, "round_to": 16}, "ratio = 0.2 is less than round_to = 16"),
        ({"ratio": 0.5, "keep": ["lstm"]}, 'no layer is called "lstm"; there are layers.0'),
    ],
)
def test_units_that_cannot_go_are_told(
    trained: tuple[Language, LanguageModel],
    changes: dict[str, object],
    reason: str,
    tmp_path: Path,
) -> None:
    with pytest.raises(FieldwrenError, match=reason):
        _run(trained, tmp_path, {"kind": "rnn-units", "criterion": "l1", **changes})


def test_units_go_until_a_measured_time_is_met(
    trained: tuple[Language, LanguageModel], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A microsecond for each value of a matrix, so that the answer is known."""
    asked: set[tuple[int, str]] = set()

    def by_time(shapes: list[Shape], vectors: int, scheme: str) -> float:
        asked.add((vectors, scheme))
        return by_count(shapes)

    names: set[tuple[str, ...]] = set()
    measured = timing.milliseconds

    def milliseconds(net: nn.Module, **told: Any) -> float:
        names.add(tuple(told["names"]))
        return measured(net, **told)

    monkeypatch.setattr(timing, "by_time", by_time)
    monkeypatch.setattr(timing, "milliseconds", milliseconds)
    _, baseline = trained
    sides = {"layers.0.x", "layers.0.h", "layers.1.x"}  # what reads the layer is a part of it

    def spent(net: LanguageModel) -> float:
        return sum(net.get_submodule(name).dense().numel() for name in sides) / 1e3  # type: ignore[operator]

    table = {"kind": "rnn-units", "criterion": "l1", "round_to": 1, "keep": ["layers.1"]}
    told = {"vectors": 3, "scheme": "dynamic-int8"}
    target = 0.6 * spent(baseline)
    _, net = _run(trained, tmp_path / "met", {**table, **told, "milliseconds": target})
    assert asked == {(3, "dynamic-int8")}
    assert names == {tuple(sorted(sides))}  # in the order of every other process
    assert spent(net) <= target
    left = recurrent(net)["layers.0"].units
    _, larger = _run(trained, tmp_path / "one", {**table, "ratio": 1 - (left + 1) / 16})
    assert recurrent(larger)["layers.0"].units == left + 1 and spent(larger) > target
    with pytest.raises(FieldwrenError, match=r"their matrices to 1e-06 ms: units of layers\.0 are"):
        _run(trained, tmp_path / "missed", {**table, "milliseconds": 1e-6})


class Skip(nn.Module):
    """Two layers whose outputs are read together."""

    def __init__(self, add: bool) -> None:
        super().__init__()
        self.add, self.first, self.second = add, nn.LSTM(6, 12), nn.GRU(12, 12)
        self.out = nn.Linear(12 if add else 24, 3)

    def forward(self, x: Tensor) -> Tensor:
        one, _ = self.first(x)
        other, _ = self.second(one)
        answer: Tensor = self.out(one + other if self.add else torch.cat((one, other), -1))
        return answer


@pytest.mark.parametrize("add", [True, False])
def test_units_that_a_skip_reads_stay(add: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, example = Skip(add).eval(), torch.randn(7, 2, 6)
    step = RnnColumns(kind="rnn-columns", criterion="l1", ratio=0.9)
    context = Context(cast(Task, None), 0, example, copy.deepcopy(net), tmp_path / "checkpoint")
    outcome = rnn_columns.run(context, net, step)
    assert outcome.mask_error is not None and outcome.mask_error <= 1e-5
    layers = recurrent(net)
    assert [layer.units for layer in layers.values()] == [12, 12]
    dead = wires.dead(net, wires.readers(net, example))  # and no reader that is found needs them
    assert "first.layers.0" in dead


class Tied(nn.Module):
    """Words in and words out by one matrix, in torch's own layers."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.rnn, self.out = nn.Embedding(20, 8), nn.LSTM(8, 8), nn.Linear(8, 20)
        self.out.weight = self.table.weight

    def forward(self, words: Tensor) -> Tensor:
        answer: Tensor = self.out(self.rnn(self.table(words))[0])
        return answer


@pytest.mark.parametrize("target", [{"ratio": 0.5}, {"parameters": 0.7}])
def test_a_tie_is_not_undone(target: dict[str, float], tmp_path: Path) -> None:
    net, example = Tied().eval(), texts.words()
    context = Context(cast(Task, None), 0, example, copy.deepcopy(net), tmp_path / "checkpoint")
    step = RnnUnits(kind="rnn-units", criterion="l1", round_to=1, **target)
    reason = r"^rnn\.layers\.0: units cannot go: out.weight and table.weight are one .* its own$"
    with pytest.raises(FieldwrenError, match=reason):
        rnn_units.run(context, net, step)
    net.out.weight = nn.Parameter(net.table.weight.detach().clone())
    assert rnn_units.run(context, net, step).mask_error is not None
    assert net.out.in_features < net.table.embedding_dim


def test_steps_go_together_and_what_is_gone_stays_gone(
    trained: tuple[Language, LanguageModel], tmp_path: Path
) -> None:
    tables = [
        {"kind": "rnn-gates", "ratio": 0.3, "window": 5, **TUNED},
        {"kind": "rnn-svd", "parameters": 0.5},
        {"kind": "finetune", "distil": True, **TUNED},
    ]
    records, net = _run(trained, tmp_path, *tables)
    assert records[1].parameters == records[2].parameters <= 0.5 * count.parameters(trained[1])
    assert records[2].validation["ppl"] < records[1].validation["ppl"]
    read = [part.columns for part in recurrent(net)["layers.0"].h.parts]
    assert all(columns is None or len(columns) <= 11 for columns in read)  # of 16, .3 gone


@pytest.mark.parametrize("units", [[24], [24, 20]])
def test_units_go_and_ranks_after_almost_all_columns(units: list[int], tmp_path: Path) -> None:
    """Some gates have then none left of the few that they read."""
    task = texts.task(tmp_path / "text", size=16, units=units)
    torch.manual_seed(0)
    tables = [
        {"kind": "rnn-columns", "criterion": "l1", "ratio": 0.9},
        {"kind": "rnn-units", "criterion": "l1", "ratio": 0.5, "round_to": 1},
        {"kind": "rnn-units", "criterion": "l1", "ratio": 0.2, "round_to": 1},
        {"kind": "rnn-svd", "energy": 0.9},
    ]
    net = task.build()
    assert isinstance(net, LanguageModel)
    records, made = _run((task, net), tmp_path, *tables)
    assert all(record.mask_error is not None for record in records)
    sides = [side for layer in recurrent(made).values() for side in (layer.x, layer.h)]
    assert all(part.kept != 0 for side in sides for part in side.parts)


@pytest.mark.parametrize("criterion", ["l1", "influence", "random"])
def test_columns_that_are_gone_do_not_come_back(
    criterion: str, trained: tuple[Language, LanguageModel], tmp_path: Path
) -> None:
    step = {"kind": "rnn-columns", "criterion": criterion}
    records, _ = _run(trained, tmp_path / "one", {**step, "ratio": 0.5}, {**step, "ratio": 0.25})
    assert records[1].parameters == records[0].parameters
    further, _ = _run(trained, tmp_path / "two", {**step, "ratio": 0.5}, {**step, "ratio": 0.75})
    assert further[1].parameters < further[0].parameters == records[0].parameters


def test_a_layer_that_is_kept_may_be_factorised(
    trained: tuple[Language, LanguageModel], tmp_path: Path
) -> None:
    factorised = {"kind": "rnn-svd", "parameters": 0.7, "keep": ["layers.1.*"]}
    rest = {"kind": "rnn-columns", "criterion": "l1", "ratio": 0.5, "keep": ["layers.0"]}
    records, _ = _run(trained, tmp_path / "one", factorised, rest)
    assert records[1].parameters < records[0].parameters
    with pytest.raises(FieldwrenError, match=r"layers\.0: choose columns before"):
        _run(trained, tmp_path / "two", factorised, {**rest, "keep": ["layers.1"]})


@pytest.mark.parametrize("told", [{"vectors": 3}, {"scheme": "dynamic-int8"}])
def test_how_time_is_measured_is_told_only_with_a_time(told: dict[str, object]) -> None:
    table = {"kind": "rnn-units", "criterion": "l1", **told}
    TypeAdapter(Step).validate_python({**table, "milliseconds": 1.0})
    with pytest.raises(ValidationError, match="vectors and scheme: how time is measured"):
        TypeAdapter(Step).validate_python({**table, "ratio": 0.5})


def test_units_have_one_target() -> None:
    for targets in ({}, {"ratio": 0.5, "milliseconds": 1.0}):
        with pytest.raises(ValidationError, match="one of ratio, parameters and milliseconds"):
            TypeAdapter(Step).validate_python({"kind": "rnn-units", "criterion": "l1", **targets})


def test_influence_is_the_gradient_of_a_mask_of_ones(
    trained: tuple[Language, LanguageModel],
) -> None:
    """−∂L/∂M equals −W·∂L/∂W: the moving average of its magnitude over eight batches."""
    task, net = trained
    found = influence(net, task, 0)["layers.0.h"]
    expected = torch.zeros_like(found)
    weight = recurrent(net)["layers.0"].h.parts[0].factors[0]
    for index, batch in enumerate(task.batches(0, 0)):
        if index == 8:
            break
        net.zero_grad()
        task.loss(net.eval(), batch, None).backward()
        assert weight.grad is not None
        product = (weight * weight.grad).detach().abs().view_as(expected)
        expected = 0.98 * expected + 0.02 * product
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-9)
