"""Ranks by hand, factors against numpy, the cheapest form against a full search."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn

from compress.rnn import columns
from compress.rnn.adopt import adopt
from compress.rnn.factorise import Factorisation
from compress.rnn.forms import Candidates, Shape, by_count, columns_read, empty, shape_of
from compress.rnn.svd import Decomposition
from compress.rnn.timing import by_time
from models.projections import Matrix, Projection
from tests.compress.rnn.texts import gathered, matrix


def diagonal(values: list[float]) -> Decomposition:
    return Decomposition.of(torch.diag(torch.tensor(values)))


@pytest.mark.parametrize(
    ("rule", "limit", "rank"),
    [
        ("threshold", 0.5, 2),  # 4, 3 | 2, 1: more than half of 4
        ("threshold", 0.24, 4),
        ("threshold", 0.99, 1),
        ("energy", 16 / 30, 1),  # 16, 9, 4, 1 of 30
        ("energy", 16.01 / 30, 2),
        ("energy", 25 / 30, 2),
        ("energy", 1.0, 4),
    ],
)
def test_ranks_by_hand(rule: str, limit: float, rank: int) -> None:
    assert diagonal([4, 3, 2, 1]).rank(rule, limit) == rank  # type: ignore[arg-type]


def test_energy_is_the_share_of_the_squared_error() -> None:
    weight = matrix(20, 12)
    found = Decomposition.of(weight)
    rank = found.rank("energy", 0.9)
    errors = []
    for r in (rank - 1, rank):
        left, right = found.factors(r)
        errors.append(float((weight - left @ right).square().sum() / weight.square().sum()))
    assert errors[1] <= 0.1 < errors[0]


def test_factors_are_the_best_of_their_rank() -> None:
    weight = matrix(9, 7)
    left, right = Decomposition.of(weight).factors(3)
    u, s, v = np.linalg.svd(weight.numpy())
    assert np.abs((left @ right).numpy() - (u[:, :3] * s[:3]) @ v[:3]).max() < 1e-5
    assert left.shape == (9, 3) and right.shape == (3, 7)


@pytest.mark.parametrize(
    ("shape", "parameters"),
    [
        (Shape(8, 6, None, None), 48),
        (Shape(8, 6, 4, None), 32),
        (Shape(8, 6, None, 2), 2 * (8 + 6)),
        (Shape(8, 6, 4, 2), 2 * (8 + 4)),
    ],
)
def test_counts_are_those_of_the_stored_matrix(shape: Shape, parameters: int) -> None:
    made = empty(shape)
    assert shape.parameters == parameters == sum(p.numel() for p in made.parameters())
    assert shape_of(made) == shape


def test_the_cheapest_form_by_full_search() -> None:
    """Per gate low rank or gather, or everything packed: what costs least at each energy."""
    torch.manual_seed(0)
    parts = [
        Matrix(12, [matrix(10, 4, seed=0)], torch.tensor([0, 3, 5, 11])),
        Matrix(12, [matrix(10, 12, rank=2, seed=1)]),
        gathered(10, 12, [1, 2], seed=2),
        Matrix(12, [matrix(10, 12, seed=3)]),
    ]
    side = Projection(4, parts)
    found = Candidates(side)
    seen = set()
    for energy in (0.3, 0.6, 0.8, 0.9, 0.99, 1.0):
        options = [part.shapes("energy", energy) for part in (*found.gates, found.packed)]
        *gates, packed = options
        apart = min(
            sum(shape.parameters for shape in chosen) for chosen in itertools.product(*gates)
        )
        best = min(apart, *(shape.parameters for shape in packed))
        shapes = found.cheapest("energy", energy, by_count)
        assert sum(shape.parameters for shape in shapes) == best
        assert best <= sum(shape_of(part).parameters for part in parts)
        seen.add((len(shapes), tuple(shape.rank is None for shape in shapes)))
        stored = Projection(4, found.stored(shapes))
        # what is stored loses no more energy than allowed, over the gates together
        whole = side.dense().detach()
        lost = float((stored.dense().detach() - whole).square().sum() / whole.square().sum())
        assert lost <= 1 - energy + 1e-6
    assert len(seen) > 1


def test_exact_forms_change_nothing() -> None:
    side = Projection(2, [gathered(6, 9, [0, 4, 8]), gathered(6, 9, [1, 4], seed=1)])
    found = Candidates(side)
    for part, rows in zip(found.gates, side.dense().chunk(2), strict=True):
        for shape in part.shapes("energy", 0.5)[:2]:
            assert torch.equal(part.stored(shape).dense(), rows)


def test_break_even_of_one_gate_and_of_all_packed() -> None:
    """h·k/(h + k) for one gate, 4h·K/(4h + K) for four."""
    h, k = 32, 24
    for groups in (1, 4):
        side = Projection(groups, [Matrix(k, [matrix(groups * h, k)])])
        rows = groups * h
        even = rows * k / (rows + k)
        part = Candidates(side).packed
        for rank in range(1, k + 1):
            cheaper = Shape(rows, k, None, rank).parameters < Shape(rows, k, None, None).parameters
            assert cheaper == (rank < even)
        assert part.decomposition.rank("energy", 1.0) == k


def test_masked_columns_are_gathered_columns() -> None:
    scores = torch.tensor([[3.0, 1, 2, 0], [0, 1, 2, 3]])
    read = columns.lowest(scores, 0.5)
    assert [own.tolist() for own in read] == [[0, 2], [2, 3]]
    side = Projection(2, [Matrix(4, [matrix(6, 4)])])
    weight = side.dense().detach().clone()
    columns.mask(side, read)
    masked = side.dense().detach().clone()
    assert torch.equal(masked[:3][:, [0, 2]], weight[:3][:, [0, 2]])
    assert not masked[:3][:, [1, 3]].any() and not masked[3:][:, [0, 1]].any()
    columns.keep_columns(side, read)
    assert torch.equal(side.dense(), masked)
    assert [shape_of(part) for part in side.parts] == [Shape(3, 4, 2, None)] * 2
    assert [own.tolist() for own in columns_read(side)] == [[0, 2], [2, 3]]
    columns.keep_columns(side, [torch.tensor([1]), torch.tensor([1])])
    assert [shape_of(part) for part in side.parts] == [Shape(6, 4, 1, None)]  # one for all gates


def test_what_reads_every_input_gathers_none() -> None:
    side = Projection(2, [Matrix(4, [matrix(6, 4)])])
    weight = side.dense().detach().clone()
    columns.keep_columns(side, [torch.arange(4), torch.tensor([0, 2])])
    assert [shape_of(part) for part in side.parts] == [
        Shape(3, 4, None, None),
        Shape(3, 4, 2, None),
    ]
    assert torch.equal(side.dense()[:3], weight[:3])


def test_measured_time_of_every_form() -> None:
    """A matrix of 1024 × 512 takes longer than one of rank 8; a file is made for each form."""
    times = [by_time([Shape(1024, 512, kept, rank)]) for kept in (None, 100) for rank in (None, 8)]
    assert all(0 < time < 1e6 for time in times)
    assert times[1] < times[0]
    for scheme in ("dynamic-int8", "static-int8"):
        assert by_time([Shape(64, 32, None, None), Shape(64, 32, 8, 4)], 3, scheme) > 0


def _calls(shapes: Sequence[Shape]) -> float:
    """A runtime where every invocation costs 100 and every matrix 1 beside its parameters."""
    return 100 + len(shapes) + by_count(shapes)


def test_the_fastest_form_of_a_side_pays_for_its_invocation_once() -> None:
    """Four gates of rank 1: 4·(10 + 12) parameters apart, 40·12 packed and dense."""
    side = Projection(4, [Matrix(12, [matrix(10, 12, rank=1, seed=g)]) for g in range(4)])
    found = Candidates(side)
    shapes = found.cheapest("energy", 0.9999, _calls)
    assert shapes == [Shape(10, 12, None, 1)] * 4
    options = [[shape] for shape in found.packed.shapes("energy", 0.9999)]
    assert _calls(shapes) == min(map(_calls, [*options, shapes, found.current]))


def test_no_form_is_taken_that_is_larger_however_fast() -> None:
    """A dense matrix may be faster than two factors; the network is to become smaller."""
    side = Projection(2, [Matrix(12, [matrix(20, 2), matrix(2, 12, seed=1)])])
    found = Candidates(side)
    shapes = found.cheapest("energy", 1.0, lambda shapes: -by_count(shapes))
    assert shapes == [Shape(20, 12, None, 2)] == found.current
    stored = Projection(2, found.stored(shapes))
    torch.testing.assert_close(stored.dense(), side.dense(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_factors_are_of_the_networks_type_and_precision(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    net = adopt(nn.Sequential(nn.LSTM(6, 8, batch_first=True))).to(dtype)
    x = torch.randn(1, 5, 6, dtype=dtype)
    with torch.no_grad():
        before = net(x)[0]
        found = Factorisation(net)
        found.apply(
            {
                name: [Shape(32, side.inputs, None, side.inputs)]
                for name, side in found.sides.items()
            }
        )
        after = net(x)[0]
    assert {values.dtype for values in net.parameters()} == {dtype}
    assert torch.allclose(after, before, atol=16 * torch.finfo(dtype).eps, rtol=0)


def test_matrices_are_stored_where_they_were() -> None:
    found = Candidates(Projection(2, [Matrix(4, [matrix(6, 4)])]))
    found.device = torch.device("meta")
    stored = found.stored([Shape(6, 4, None, 2)])
    assert all(factor.is_meta for factor in stored[0].factors)
