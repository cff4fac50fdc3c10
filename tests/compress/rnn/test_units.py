"""Units: masked equals removed whatever the form, for every kind of reader; others are refused."""

import copy

import pytest
import torch
from torch import Tensor, nn

from compress import count
from compress.rnn import proof, structure, units, wires
from compress.rnn.adopt import adopt, recurrent
from compress.rnn.factorise import Factorisation
from compress.rnn.forms import Candidates, by_count
from device.errors import FieldwrenError
from models.lstm_lm import LanguageModel
from models.projections import Matrix, Projection
from tests.compress.rnn import texts
from tests.compress.rnn.test_adopt import Cells, Sequence, inputs


def choice(net: nn.Module, names: list[str], count: int = 3) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(4)
    layers = recurrent(net)
    return {
        name: torch.randperm(layers[name].units, generator=random)[:count].sort().values
        for name in names
    }


@pytest.mark.parametrize(
    "net",
    [
        lambda: Sequence(nn.LSTM),
        lambda: Sequence(nn.GRU, batch_first=True),
        lambda: Cells(nn.LSTMCell),
        lambda: Cells(nn.GRUCell),
    ],
)
def test_masked_units_are_removed_units(net: object) -> None:
    torch.manual_seed(0)
    made = adopt(net())  # type: ignore[operator]
    x = inputs()
    found = wires.readers(made, x)
    assert all(found.values())
    removed = choice(made, list(found))
    masked = units.mask(copy.deepcopy(made), found, removed)
    units.remove(made, found, removed)
    with torch.no_grad():
        assert (masked.eval()(x)[0] - made.eval()(x)[0]).abs().max() <= 1e-5
        assert (masked(x)[0] - net()(x)[0]).abs().max() > 1e-3  # type: ignore[operator]
    assert all(layer.units == 5 for layer in recurrent(made).values())


def test_units_of_factorised_and_gathered_layers_go_as_well() -> None:
    net = texts.network()
    words = texts.words()
    layer = recurrent(net)["layers.0"]
    layer.x.store([texts.gathered(16, 12, [0, 2, 5, 6, 11], seed=g) for g in range(4)])
    layer.h.store([Matrix(16, [texts.matrix(64, 5), texts.matrix(5, 16, seed=1)])])
    behind = recurrent(net)["layers.1"]
    columns = torch.tensor([1, 4, 8, 9, 15])
    behind.x.store([Matrix(16, [texts.matrix(48, 2), texts.matrix(2, 5, seed=1)], columns)])
    found = wires.readers(net, words)
    assert found == {"layers.0": ["layers.1.x"], "layers.1": ["table.x", "layers.0.x"]}
    removed = {"layers.0": torch.tensor([0, 4, 7])}
    masked = units.mask(copy.deepcopy(net), found, removed)
    units.remove(net, found, removed)
    assert proof.agreement(masked, net, words) <= 1e-5
    assert layer.units == 13
    assert behind.x.parts[0].columns is not None
    assert behind.x.parts[0].columns.tolist() == [0, 5, 6, 12]  # 1, 8, 9, 15 without 0, 4, 7


def test_units_behind_a_tied_table_take_the_embedding_along() -> None:
    net, words = texts.network(), texts.words()
    found = wires.readers(net, words)
    removed = {"layers.1": torch.tensor([1, 7, 11])}
    masked = units.mask(copy.deepcopy(net), found, removed)
    units.remove(net, found, removed)
    assert proof.agreement(masked, net, words) <= 1e-5
    first = recurrent(net)["layers.0"]
    assert (first.inputs, net.table.x.inputs) == (9, 9)


def test_a_reader_that_is_tied_is_refused_before_anything_is_cut() -> None:
    net = adopt(Cells(nn.LSTMCell))
    net.other = nn.Linear(8, net.out.out_features)
    net.other.weight = net.out.weight
    with pytest.raises(FieldwrenError, match=r"out\.weight and other\.weight are one parameter"):
        units.remove(net, wires.readers(net, inputs()), choice(net, ["cell.layer"]))
    assert recurrent(net)["cell.layer"].units == 8


def test_readers_that_are_called_by_name_are_found() -> None:
    class Called(Cells):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            h, c = self.cell(input=x[0], hx=None)
            h, c = self.cell(x[1], hx=(h, c))
            return self.out(input=h), h, c

    net = adopt(Called(nn.LSTMCell))
    assert wires.readers(net, inputs()) == {"cell.layer": ["out"]}


def test_a_reader_that_cannot_follow_makes_the_proof_fail() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.out = nn.LSTM(5, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            y, _ = self.rnn(x)
            answer: Tensor = self.out(y) + y.square().sum(-1, keepdim=True)
            return answer

    torch.manual_seed(0)
    net = adopt(Residual())
    found = wires.readers(net, inputs())
    removed = choice(net, ["rnn.layers.0"])
    masked = units.mask(copy.deepcopy(net), found, removed)
    units.remove(net, found, removed)
    assert proof.agreement(masked, net, inputs()) <= 1e-5  # a sum over zeros is the same sum
    unmasked = adopt(Residual())
    with pytest.raises(FieldwrenError, match="differ by"):
        proof.agreement(unmasked, net, inputs())


def test_units_that_nobody_reads_are_dead() -> None:
    net = texts.network()
    first, second = recurrent(net)["layers.0"], recurrent(net)["layers.1"]
    read = [[0, 1, 2, 3], [0, 1, 3], [1, 2, 3], [2, 3]]
    first.h.store([texts.gathered(16, 16, own, seed=g) for g, own in enumerate(read)])
    second.x.store([texts.gathered(12, 16, [3, 7], seed=g) for g in range(4)])
    words = texts.words()
    found = wires.readers(net, words)
    dead = wires.dead(net, found)
    assert {name: own.tolist() for name, own in dead.items()} == {
        "layers.0": [u for u in range(16) if u not in (0, 1, 2, 3, 7)]
    }
    before = copy.deepcopy(net)
    units.remove(net, found, dead)
    assert proof.agreement(before, net, words) <= 1e-5
    assert first.units == 5
    assert count.parameters(net) < count.parameters(before)
    assert not wires.dead(net, found)


def test_a_gather_of_all_that_is_left_goes() -> None:
    net = texts.network()
    first, second = recurrent(net)["layers.0"], recurrent(net)["layers.1"]
    for side in (first.h, second.x):
        rows = side.rows
        side.store([texts.gathered(rows, 16, [3, 7, 9], seed=g) for g in range(4)])
    words = texts.words()
    found = wires.readers(net, words)
    before = copy.deepcopy(net)
    units.remove(net, found, wires.dead(net, found))
    assert [part.columns for part in (*first.h.parts, *second.x.parts)] == [None] * 8
    assert proof.agreement(before, net, words) <= 1e-5


def left_without() -> tuple[LanguageModel, dict[str, Tensor]]:
    """Whose gates read units of which some are going: all that gates 0 and 1 of layers.0.h read,
    and all that any gate of layers.1.x reads."""
    net = texts.network()
    first, second = recurrent(net)["layers.0"], recurrent(net)["layers.1"]
    read = [[2], [2, 3], [2, 7], [5, 9]]
    first.h.store([texts.gathered(16, 16, own, seed=g) for g, own in enumerate(read)])
    left, right = texts.matrix(12, 3), texts.matrix(3, 1, seed=1)
    gates = [texts.gathered(12, 16, [3], seed=g) for g in range(3)]
    second.x.store([*gates, Matrix(16, [left, right], torch.tensor([2]))])
    return net, {"layers.0": torch.tensor([2, 3, 11])}


@torch.no_grad()
def test_a_gate_whose_every_column_went_reads_nothing_and_goes_on() -> None:
    net, removed = left_without()
    found = wires.readers(net, texts.words())
    masked = units.mask(copy.deepcopy(net), found, removed)
    units.remove(net, found, removed)
    assert proof.agreement(masked, net, texts.words()) <= 1e-5
    first, second = recurrent(net)["layers.0"], recurrent(net)["layers.1"]
    read = [part.columns.tolist() for part in first.h.parts if part.columns is not None]
    assert read == [[5], [5], [5], [3, 7]]  # no unit is read for the zeros' sake
    assert not any(part.dense().any() for part in second.x.parts)
    units.remove(net, found, {"layers.0": torch.tensor([0]), "layers.1": torch.tensor([4])})
    for rule, limit in (("energy", 0.9), ("threshold", 0.5)):
        made = copy.deepcopy(net)
        work = Factorisation(made)
        work.apply(work.cheapest(rule, limit, by_count))  # type: ignore[arg-type]
        assert proof.agreement(proof.multiplied_out(made), made, texts.words()) <= 1e-5


def test_matrices_without_columns_that_were_stored_are_factorised() -> None:
    none = Matrix(9, [torch.zeros(6, 0)], torch.tensor([], dtype=torch.int64))
    side = Projection(2, [none, texts.gathered(6, 9, [1, 4])])
    assert [shape.kept for shape in Candidates(side).cheapest("energy", 0.9, by_count)] == [0, 2]


def test_how_many_units_stay() -> None:
    scores = torch.tensor([3.0, 0, 5, 1, 4, 2, 9, 8, 7, 6])
    assert units.lowest(scores, 0.5, 1).tolist() == [0, 1, 3, 4, 5]
    assert len(units.lowest(scores, 0.5, 4)) == 6  # five, rounded to four, stay
    assert len(units.lowest(scores, 0.99, 4)) == 6  # never fewer than one multiple
    assert len(units.lowest(scores, 0.01, 4)) == 2
    assert len(units.lowest(scores, 0.5, 100)) == 0


def test_a_unit_scores_by_all_its_rows() -> None:
    net = texts.network()
    layer = recurrent(net)["layers.1"]
    with torch.no_grad():
        for side in (layer.x, layer.h):
            side.parts[0].factors[0].view(4, 12, -1)[:, 5] = 0
    scores = units.SCORES["l1"](net, None, 0)["layers.1"]  # type: ignore[arg-type]
    assert scores.argmin() == 5
    expected = sum(
        float(side.dense()[g * 12 + 2].abs().sum().detach())
        for side in (layer.x, layer.h)
        for g in range(4)
    )
    assert float(scores[2]) == pytest.approx(expected, rel=1e-5)


def test_a_structure_rebuilds_every_form() -> None:
    net = adopt(Sequence(nn.GRU))
    found = wires.readers(net, inputs())
    units.remove(net, found, choice(net, ["rnn.layers.0", "rnn.layers.1"]))
    work = Factorisation(net)
    work.apply(work.within(int(0.8 * count.parameters(net))))
    fresh = structure.rebuild(Sequence(nn.GRU), structure.describe(net))
    fresh.load_state_dict(net.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(fresh.eval()(inputs())[0], net.eval()(inputs())[0])


def test_a_size_is_met_from_below_and_not_missed_by_much() -> None:
    net = texts.network()
    whole = count.parameters(net)
    for share in (0.8, 0.6, 0.5):
        made = copy.deepcopy(net)
        work = Factorisation(made)
        work.apply(work.within(int(share * whole)))
        assert (share - 0.04) * whole < count.parameters(made) <= share * whole
        assert proof.agreement(proof.multiplied_out(made), made, texts.words()) <= 1e-5
    with pytest.raises(FieldwrenError, match="are in no matrix"):
        Factorisation(net).within(50)


def test_why_there_is_nothing_to_factorise_is_said() -> None:
    with pytest.raises(FieldwrenError, match="the network has no LSTM or GRU"):
        Factorisation(nn.Linear(3, 3))
    with pytest.raises(FieldwrenError, match="keep leaves no matrix: keep fewer"):
        Factorisation(texts.network(), ["*"])
