"""ENAS children: drop-path, which only training has."""

import torch

from models.enas import Enas
from models.enas.operations import DropPath
from tests.compress.enas import children


def test_dropped_paths_are_whole_examples_and_the_rest_makes_up_for_them() -> None:
    torch.manual_seed(0)
    x = torch.rand(4000, 2, 3, 3) + 1
    y = DropPath(0.25).train()(x)
    share = (y / x).flatten(1)
    gone = (share == 0).all(1)
    assert bool(torch.isclose(share[~gone], torch.tensor(4 / 3)).all())  # nothing in between
    assert abs(float(gone.float().mean()) - 0.25) < 0.03
    assert torch.equal(DropPath(0.25).eval()(x), x)
    assert torch.equal(DropPath(0.0).train()(x), x)


def test_the_probability_grows_with_depth_and_spares_identities() -> None:
    net = Enas(10, 4, 3, 5, children.published(), drop_path=0.5)
    assert [cell.drop.drop for cell in net.cells] == [0.1, 0.2, 0.3, 0.4, 0.5]
    calls: list[int] = []
    cell = net.cells[-1]
    cell.drop.register_forward_hook(lambda *_: calls.append(1))
    net.eval()(torch.rand(1, 3, 16, 16))
    plan = net.architecture.plans[False]  # type: ignore[union-attr]
    operations = [edge.operation for _, _, edge in plan.edges]
    assert len(calls) == sum(name != "identity" for name in operations) < len(operations)


def test_training_is_random_with_it_and_not_without() -> None:
    torch.manual_seed(0)
    x = torch.rand(4, 3, 16, 16)
    for probability, random in ((0.5, True), (0.0, False)):
        net = Enas(10, 4, 1, 5, children.published(), drop_path=probability).train()
        assert torch.equal(net(x), net(x)) is not random
        net.eval()
        assert torch.equal(net(x), net(x))
