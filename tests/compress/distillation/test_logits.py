"""Softened answers: the formula by hand, and teachers that know only some labels."""

import pytest
import torch
import torch.nn.functional as F

from compress.distillation import logits as method


def _case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    z, a = (2 * torch.randn(6, 5, generator=random) for _ in range(2))
    return z, a, torch.tensor([0, 1, 2, 3, 4, 0])


def test_the_formula_written_out() -> None:
    z, a, labels = _case()
    T, weight = 3.0, 0.7
    expected = 0.0
    for one, other, label in zip(z, a, labels, strict=True):
        p, q = torch.softmax(other / T, 0), torch.softmax(one / T, 0)
        soft = T * T * float((p * (p / q).log()).sum())
        hard = -float(torch.log_softmax(one, 0)[label])
        expected += ((1 - weight) * hard + weight * soft) / len(z)
    got = method.loss(z, labels, a, weight=weight, temperature=T)
    assert float(got) == pytest.approx(expected, rel=1e-5)


def test_a_teacher_that_agrees_leaves_the_labels_share() -> None:
    z, _, labels = _case()
    got = method.loss(z, labels, z + 7, weight=0.6, temperature=2.0, smoothing=0.1)
    expected = 0.4 * F.cross_entropy(z, labels, label_smoothing=0.1)
    assert float(got) == pytest.approx(float(expected), rel=1e-5)


def test_labels_a_teacher_does_not_know_are_left_to_the_data() -> None:
    z, a, labels = _case()
    a[:, 3:] = -torch.inf
    z.requires_grad_(True)
    loss = method.loss(z, labels, a, weight=1.0, temperature=2.0)
    loss.backward()
    assert torch.isfinite(loss) and z.grad is not None and bool(torch.isfinite(z.grad).all())
    known = labels < 3
    soft = 4 * method.divergence(z[known, :3] / 2, a[known, :3] / 2)
    hard = F.cross_entropy(z[~known], labels[~known], reduction="none")
    assert float(loss) == pytest.approx(float(torch.cat((soft, hard)).mean()), rel=1e-5)
    assert bool((z.grad[known][:, 3:] == 0).all())
