"""Foreign networks: what cannot be pruned is refused by name, and its `keep` spares the rest."""

import pytest
import torch
from torch import Tensor, nn

from compress import allocation, prune
from compress.criteria import CRITERIA
from compress.criteria.base import Group, Statistics
from compress.statistics import Calibration
from compress.steps import Prune
from compress.task import Batch
from device.errors import BadInputError, FieldwrenError
from tests.compress import foreign, patterns, real


def _step(**changes: object) -> Prune:
    table = {"kind": "prune", "criterion": "l1", "ratio": 0.3, "round_to": 1, **changes}
    return Prune.model_validate(table)


def _build(make: type[nn.Module]) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    x = torch.rand(2, 20) if make is foreign.TiedAutoencoder else real.photos(16)
    return patterns.shaken(make()), x


REFUSED: dict[type[nn.Module], tuple[str, str]] = {
    foreign.Tied: (r"b\.weight and c\.weight are one tensor", '"b", "c", "a.conv"'),
    foreign.TiedAutoencoder: (r"no longer run .*mat1 and mat2", '"b", "a"'),
    foreign.Halved: (r"F\.glu halves them.*x\.chunk\(2, 1\)", '"a.conv"'),
    foreign.Shuffled: (r"the same ones from b\.conv, which has only 4", '"a.conv"'),
    foreign.Buffered: (r"no longer run .*size of tensor", '"a.conv"'),
    foreign.Indexed: (r"no longer run .*index 15", '"a.conv"'),
    foreign.Attentive: (r"the same ones from b\.conv, which has only 16", '"k"'),
    foreign.Columns: (r"torch_pruning cannot follow", '"a"'),
    foreign.Parametrized: (r"b\.0 .*remove_parametrizations", '"b.0", "a.conv"'),
    foreign.OldWeightNorm: (r"b\.0 .*remove_weight_norm", '"b.0", "a.conv"'),
    foreign.Auxiliary: (r"aux runs, but nothing of the answer", '"a.conv"'),
    foreign.Detached: (r"aux runs, but nothing of the answer", '"a.conv"'),
    foreign.Telling: (r"the answer would lose some \(name the layer in head\)", '"a.conv"'),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("make", REFUSED)
def test_what_cannot_be_pruned_is_refused_by_name(make: type[nn.Module]) -> None:
    (net, x), (reason, keep) = _build(make), REFUSED[make]
    head = [] if make is foreign.TiedAutoencoder else [net.get_submodule("h")]
    with pytest.raises(FieldwrenError, match=rf"channels cannot be removed.*{reason}") as caught:
        allocation.make_plan(net, x, head, _step(), 0)
    assert str(caught.value).endswith(f"keep = [{keep}] leaves them whole")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [foreign.Halved, foreign.Buffered, foreign.Auxiliary])
def test_what_a_refusal_advises_helps(make: type[nn.Module]) -> None:
    net, x = _build(make)
    step = _step(keep=("a*",))
    plan = allocation.make_plan(net, x, [net.get_submodule("h")], step, 0)
    assert [cut.layer for cut in plan.cuts] == ["b.conv"]


def test_a_pattern_of_keep_that_names_nothing_is_refused() -> None:
    net, x = _build(foreign.Foreign)
    with pytest.raises(BadInputError, match='keep: no layer is called "c"'):
        allocation.make_plan(net, x, [], _step(keep=("c",)), 0)


@pytest.mark.parametrize("ratio", [0.3, 0.8])  # of 0.8 one answer is left, which would broadcast
def test_a_forgotten_head_is_named(ratio: float) -> None:
    net, x = _build(foreign.Foreign)
    with pytest.raises(FieldwrenError, match=r"^h: .*name the layer in head.*keep = \[.h.\]"):
        allocation.make_plan(net, x, [], _step(ratio=ratio), 0)


def test_a_shared_layer_is_one_layer() -> None:
    net, x = _build(foreign.SharedLayer)
    plan = allocation.make_plan(net, x, [net.get_submodule("h")], _step(), 0)
    assert sum(len(cut.removed) for cut in plan.cuts) > 0


@pytest.mark.parametrize(
    ("channels", "portions", "removed"),
    [
        (16, (), (0, 8, 15)),
        (16, ((0,), (8, 15)), (1, 2, 8)),
        (3, (), (0, 1)),
        (2, (), (0,)),
        (2, ((0,), (1,)), (0,)),
    ],
)
def test_a_trial_takes_the_first_a_middle_and_the_last_channel(
    channels: int, portions: tuple[tuple[int, ...], ...], removed: tuple[int, ...]
) -> None:
    whole = frozenset(frozenset(own) for own in portions)
    assert prune.Scored("a", ("a",), torch.zeros(channels), whole).sample().removed == removed


def test_a_plan_that_would_cut_a_tied_weight_is_not_carried_out() -> None:
    net, x = _build(foreign.Tied)
    cut = prune.Cut(layer="a.conv", channels=16, removed=(1,), members=())
    for use in (prune.remove, prune.mask, prune.whole_groups):
        with pytest.raises(FieldwrenError, match="are one tensor"):
            use(net, x, prune.Plan(cuts=(cut,)))


@pytest.mark.parametrize("head", [["h"], nn.Linear(16, 5), "h"], ids=["names", "layer", "name"])
def test_a_head_that_is_no_list_of_layers_is_refused(head: object) -> None:
    net, x = _build(foreign.Foreign)
    with pytest.raises(BadInputError, match=r"head: a list of layers is expected, as \[net\.fc\]"):
        allocation.make_plan(net, x, head, _step(), 0)  # type: ignore[arg-type]


def _loss(net: nn.Module, batch: Batch) -> Tensor:
    return nn.functional.cross_entropy(net(batch[0]), batch[1])


def test_data_that_is_missing_is_said_first() -> None:
    net, x = _build(foreign.Foreign)
    with pytest.raises(FieldwrenError, match="this criterion looks at data"):
        allocation.make_plan(net, x, [], _step(criterion="taylor"), 0)


def test_what_a_criterion_stops_at_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(group: Group, statistics: Statistics) -> Tensor:
        raise IndexError("index 8 is out of bounds")

    monkeypatch.setitem(CRITERIA, "l1", stop)
    net, x = _build(foreign.Foreign)
    said = r"of b\.conv, a\.conv \(l1 cannot score them \(IndexError: index 8 .*keep = \[.b\.conv.,"
    with pytest.raises(FieldwrenError, match=said):
        allocation.make_plan(net, x, [net.get_submodule("h")], _step(), 0)


def test_an_error_of_the_loss_stays_what_it_is() -> None:
    net, x = _build(foreign.Foreign)
    calibration = Calibration(net, _loss, [(x, torch.full((len(x),), 99))])  # no such class
    with pytest.raises(IndexError, match="Target 99"):
        step = _step(criterion="taylor")
        allocation.make_plan(net, x, [net.get_submodule("h")], step, 0, calibration)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_are_refused(value: float) -> None:
    net, x = _build(foreign.Foreign)
    x = x.clone()
    x[0, 0] = value
    calibration = Calibration(net, _loss, [(x, torch.zeros(len(x), dtype=torch.long))])
    step = _step(criterion="permutation-expected")
    with pytest.raises(FieldwrenError, match=r"^[ab]\.conv: its scores by permutation-expected"):
        allocation.make_plan(net, x, [net.get_submodule("h")], step, 0, calibration)


def test_losses_that_are_no_numbers_are_refused() -> None:
    net, x = _build(foreign.Foreign)
    data = [(x, torch.zeros(len(x), dtype=torch.long))]
    calibration = Calibration(net, lambda n, b: _loss(n, b) * float("nan"), data)
    step = _step(scope="sensitivity")
    with pytest.raises(FieldwrenError, match=r"^the calibration's loss.* is nan"):
        allocation.make_plan(net, x, [net.get_submodule("h")], step, 0, calibration)
