"""Forms against oracles: exact at full rank, errors that theory names, shapes of every kind."""

import pytest
import torch
from torch import Tensor, nn

from compress.lowrank import FORMS, base, cp, tucker

CONVS = {
    "strided": (nn.Conv2d(6, 8, 3, 2, 1), (2, 6, 11, 9)),
    "oblong": (nn.Conv2d(6, 8, (3, 5), (1, 2), (2, 1), (2, 1)), (2, 6, 12, 13)),
    "reflecting": (nn.Conv2d(4, 6, 3, padding="same", padding_mode="reflect"), (1, 4, 8, 8)),
    "even": (nn.Conv2d(3, 5, 4, padding=1, bias=False), (2, 3, 7, 7)),
    "one row": (nn.Conv2d(5, 7, (1, 3), (2, 1)), (1, 5, 8, 8)),
    "pointwise": (nn.Conv2d(5, 7, 1, 2), (1, 5, 8, 8)),
    "temporal": (nn.Conv1d(5, 8, 3, dilation=4), (3, 5, 30)),
}
CASES = [
    (form, kind)
    for form, module in FORMS.items()
    for kind, (conv, _) in CONVS.items()
    if module.applies(conv)
]


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _outer(*vectors: Tensor) -> Tensor:
    """The rank-one tensor of four vectors."""
    return torch.einsum("o,i,h,w->oihw", *vectors)


def _conv(W: Tensor) -> nn.Conv2d:
    conv = nn.Conv2d(W.shape[1], W.shape[0], tuple(W.shape[2:]), bias=False, dtype=torch.float64)
    conv.load_state_dict({"weight": W})
    return conv


def test_every_form_is_tried_on_two_kinds_at_least() -> None:
    assert {form for form, _ in CASES} == set(FORMS)
    assert all(sum(form == name for form, _ in CASES) >= 3 for name in FORMS)


@pytest.mark.parametrize(("form", "kind"), CASES)
def test_full_rank_is_the_same_function(form: str, kind: str) -> None:
    conv, shape = CONVS[kind]
    ranks = FORMS[form].largest(base.kernel(conv))
    made = base.factorised(FORMS[form], conv, ranks)
    x = _random(*shape).float()
    with torch.no_grad():
        expected, found = conv(x), made(x)
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= 1e-5
    assert base.error(conv, made) <= 1e-6


@pytest.mark.parametrize(("form", "kind"), CASES)
def test_hollow_layers_take_the_state_of_full_ones(form: str, kind: str) -> None:
    conv, shape = CONVS[kind]
    ranks = tuple(max(1, rank // 2) for rank in FORMS[form].largest(base.kernel(conv)))
    made, again = (build(FORMS[form], conv, ranks) for build in (base.factorised, base.hollow))
    again.load_state_dict(made.state_dict())
    x = _random(*shape).float()
    with torch.no_grad():
        torch.testing.assert_close(made(x), again(x))


@pytest.mark.parametrize("form", ["channel", "spatial", "tucker", "cp"])
def test_the_kernel_told_from_outputs_is_the_product(form: str) -> None:
    """The oracle of `product`, which errors are computed with: ask the layers pixel by pixel."""
    conv = nn.Conv2d(3, 4, (3, 2), bias=False).double()
    made = base.factorised(FORMS[form], conv, (2, 3) if form == "tucker" else (4,))
    told = torch.zeros_like(base.kernel(conv))
    for channel in range(3):
        for row in range(3):
            for column in range(2):
                x = torch.zeros(1, 3, 3, 2, dtype=torch.float64)
                x[0, channel, row, column] = 1
                with torch.no_grad():
                    told[:, channel, row, column] = made(x).flatten()
    torch.testing.assert_close(base.product(list(made)), told)


@pytest.mark.parametrize("form", ["channel", "spatial"])
def test_the_error_is_the_dropped_energy(form: str) -> None:
    W = _random(10, 6, 3, 3)
    matrix = W.flatten(1) if form == "channel" else W.permute(1, 2, 3, 0).reshape(18, 30)
    spectrum = torch.linalg.svdvals(matrix)
    conv = _conv(W)
    for rank in (1, 4, 9):
        made = base.factorised(FORMS[form], conv, (rank,))
        dropped = float((spectrum[rank:].square().sum() / W.square().sum()).sqrt())
        assert base.error(conv, made) == pytest.approx(dropped, rel=1e-9)


def test_tucker_drops_what_its_core_lacks_and_less_than_hosvd_promises() -> None:
    W = _random(12, 8, 3, 3)
    conv, ranks = _conv(W), (5, 4)
    made = base.factorised(tucker, conv, ranks)
    core = base.kernel(made[1])
    energy = float(W.square().sum())
    error = base.error(conv, made)
    assert error**2 == pytest.approx(1 - float(core.square().sum()) / energy, rel=1e-9)
    outer, inner = (
        torch.linalg.svdvals(W.flatten(1)),
        torch.linalg.svdvals(W.transpose(0, 1).flatten(1)),
    )
    bound = float(outer[5:].square().sum() + inner[4:].square().sum()) / energy
    assert error**2 <= bound


def test_hooi_improves_on_hosvd() -> None:
    W = _random(12, 8, 3, 3)
    U = torch.linalg.svd(W.flatten(1))[0][:, :5]
    V = torch.linalg.svd(W.transpose(0, 1).flatten(1))[0][:, :4]
    core = torch.einsum("oihw,or,is->rshw", W, U, V)
    hosvd = 1 - float(core.square().sum() / W.square().sum())
    conv = _conv(W)
    assert base.error(conv, base.factorised(tucker, conv, (5, 4))) ** 2 < hosvd


@pytest.mark.parametrize("form", list(FORMS))
def test_ranks_for_an_energy_keep_it(form: str) -> None:
    conv = _conv(_random(6, 5, 3, 3) + 3 * _outer(*(_random(n, seed=n) for n in (6, 5, 3, 3))))
    W = base.kernel(conv)
    for energy in (0.5, 0.9):
        ranks = FORMS[form].for_energy(W, energy)
        made = base.factorised(FORMS[form], conv, ranks)
        assert base.error(conv, made) ** 2 <= 1 - energy + 1e-9
        assert all(rank <= most for rank, most in zip(ranks, FORMS[form].largest(W), strict=True))
    if form in ("channel", "spatial"):  # the least ranks: one less keeps less
        fewer = base.factorised(FORMS[form], conv, (ranks[0] - 1,))
        assert base.error(conv, fewer) ** 2 > 1 - energy


def test_cp_finds_the_components_a_kernel_is_made_of() -> None:
    W = torch.stack(
        [_outer(*(_random(n, seed=100 + 10 * r + n) for n in (9, 7, 3, 3))) for r in range(4)]
    ).sum(0)
    assert cp.decompose(W, 4, 0)[1] > 0.1  # the slices' start is not the answer
    assert cp.decompose(W, 4, 60)[1] < 1e-4
    conv = _conv(W)
    assert base.error(conv, base.factorised(cp, conv, (4,))) < 0.01


@pytest.mark.parametrize("form", list(FORMS))
def test_a_kernel_of_zeros_stays_one(form: str) -> None:
    conv = _conv(torch.zeros(6, 5, 3, 3, dtype=torch.float64))
    ranks = FORMS[form].for_energy(base.kernel(conv), 0.9)
    made = base.factorised(FORMS[form], conv, ranks)
    assert base.error(conv, made) == 0


def test_the_ridge_keeps_cp_components_from_cancelling() -> None:
    """a∘a∘b + a∘b∘a + b∘a∘a has rank 3 but is approached by rank 2 as closely as one likes."""
    a, b, one = _random(6, seed=1), _random(6, seed=2), torch.ones(1, dtype=torch.float64)
    a = a / a.norm()
    b = b - (a @ b) * a
    b = b / b.norm()
    W = _outer(a, a, b, one) + _outer(a, b, a, one) + _outer(b, a, a, one)
    power = float(W.square().sum())
    free, _ = cp.decompose(W, 2, 200, ridge=0.0)
    held, error = cp.decompose(W, 2, 200)
    assert cp.size(free) > 6 * power
    assert cp.size(held) < 5 * power
    assert error < 0.001


def test_cp_is_balanced_and_deterministic() -> None:
    W = _random(8, 6, 3, 3)
    found, error = cp.decompose(W, 5, 10)
    norms = torch.stack([factor.norm(dim=0) for factor in found])
    torch.testing.assert_close(norms, norms[:1].expand_as(norms))
    again, same = cp.decompose(W, 5, 10)
    assert error == pytest.approx(same)
    for one, other in zip(found, again, strict=True):
        torch.testing.assert_close(one, other)


def test_grouped_convolutions_are_left_alone() -> None:
    assert base.eligible(nn.Conv2d(8, 8, 3))
    assert base.eligible(nn.Conv1d(8, 8, 3))
    assert not base.eligible(nn.Conv2d(8, 8, 3, groups=8))
    assert not base.eligible(nn.Conv2d(8, 8, 3, groups=2))
    assert not base.eligible(nn.ConvTranspose2d(8, 8, 3))
    assert not base.eligible(nn.Linear(8, 8))
