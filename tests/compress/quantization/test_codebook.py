"""Codebooks: k-means against brute force, weighting, summed gradients, honest sizes."""

import copy
import itertools
from pathlib import Path

import pytest
import torch
from torch import nn

from compress.granularity import GRAINS, masks, scores
from compress.quantization import codebook
from compress.stages import Context
from compress.stages import codebook as stage
from compress.steps import Codebook
from device.errors import FieldwrenError
from tests.compress import graphs, shapes
from tests.compress.rnn import texts


def _best(values: list[float], h: list[float], entries: int) -> float:
    """The least weighted error of any split of sorted values into runs: exact in one dimension."""
    order = sorted(range(len(values)), key=values.__getitem__)
    v, w = [values[i] for i in order], [h[i] for i in order]

    def cost(low: int, high: int) -> float:
        mass = sum(w[low:high])
        centre = sum(a * b for a, b in zip(w[low:high], v[low:high], strict=True)) / mass
        return sum(a * (b - centre) ** 2 for a, b in zip(w[low:high], v[low:high], strict=True))

    splits = itertools.combinations(range(1, len(v)), entries - 1)
    return min(
        sum(cost(a, b) for a, b in itertools.pairwise((0, *split, len(v)))) for split in splits
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_scalar_clusters_are_the_best_there_are(weighted: bool) -> None:
    values = torch.tensor([-1.0, -0.9, -0.8, 0.1, 0.15, 0.2, 0.9, 1.4, 1.5])
    h = torch.tensor([1.0, 5, 1, 1, 1, 9, 30, 1, 1]) if weighted else torch.ones(9)
    entries, indices = codebook.cluster(values[:, None], h[:, None], 3, 0)
    error = float((h * (values - entries[indices, 0]) ** 2).sum())
    assert error == pytest.approx(_best(values.tolist(), h.tolist(), 3), rel=1e-3)


def test_vectors_fall_to_their_nearest_entry_and_none_is_idle() -> None:
    random = torch.Generator().manual_seed(0)
    centres = 5 * torch.randn(8, 4, generator=random)
    truth = torch.arange(400) % 8
    vectors = centres[truth] + 0.05 * torch.randn(400, 4, generator=random)
    entries, indices = codebook.cluster(vectors, torch.ones(400, 4), 16, 1)
    brute = torch.cdist(vectors, entries).argmin(1)
    assert torch.equal(indices, brute)
    assert float((vectors - entries[indices]).square().mean()) < 0.05**2  # every centre was found
    assert len(indices.unique()) == 16


def test_weighting_moves_entries_to_what_matters() -> None:
    random = torch.Generator().manual_seed(0)
    vectors = torch.randn(300, 2, generator=random)
    h = torch.rand(300, 2, generator=random) ** 8 + 1e-3
    plain = codebook.cluster(vectors, torch.ones_like(h), 8, 0)
    weighted = codebook.cluster(vectors, h, 8, 0)
    errors = [float((h * (vectors - c[i]).square()).sum()) for c, i in (plain, weighted)]
    assert errors[1] < 0.8 * errors[0]


def _distinct(net: nn.Module, name: str, vector: int) -> int:
    return len(net.get_parameter(f"{name}.weight").detach().reshape(-1, vector).unique(dim=0))


def test_summed_gradients_are_those_of_the_entries() -> None:
    """The oracle: weights read from a codebook tensor, whose gradient autograd finds."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(12, 40), nn.ReLU(), nn.Linear(40, 3))
    shared, coded = codebook.code(net, {}, entries=8, vector=2, keep=(), seed=0)
    assert [layer.layer for layer in coded] == ["0", "2"]
    x = torch.randn(5, 12)
    indices = shared.layers["0"][1]
    weight = net[0].weight.detach()
    entries = torch.zeros(8, 2)
    entries[indices] = weight.reshape(-1, 2)
    entries.requires_grad_(True)
    y = net[2](torch.relu(x @ entries[indices].view(40, 12).T + net[0].bias))
    y.square().sum().backward()
    net.zero_grad()
    net(x).square().sum().backward()
    shared.step()
    got = net[0].weight.grad
    assert got is not None and entries.grad is not None
    torch.testing.assert_close(got.reshape(-1, 2), entries.grad[indices], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_weights_that_are_equal_stay_equal(kind: str) -> None:
    net = graphs.make("residual")
    shared, coded = codebook.code(net, {}, entries=16, vector=1, keep=("classifier",), seed=0)
    before = {layer.layer: _distinct(net, layer.layer, 1) for layer in coded}
    optimizer: torch.optim.Optimizer = (
        torch.optim.SGD(net.parameters(), 1e-4, momentum=0.9, weight_decay=1e-3)
        if kind == "sgd"
        else torch.optim.AdamW(net.parameters(), 1e-3)
    )
    start = copy.deepcopy(net.state_dict())
    for step in range(3):
        x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(step))
        net.zero_grad()
        net(x).square().mean().backward()
        shared.step()
        optimizer.step()
    shared.tie()
    for layer in coded:
        assert _distinct(net, layer.layer, 1) <= before[layer.layer] <= 16
        name = f"{layer.layer}.weight"
        assert not torch.equal(net.state_dict()[name], start[name])


def test_zeros_that_sparse_left_keep_an_entry_of_their_own() -> None:
    net = graphs.make("residual")
    layers = {n: m for n, m in net.named_modules() if isinstance(m, nn.Conv2d)}
    found = scores.magnitude(list(layers.values()))
    masks.zero(layers, found, GRAINS["weight"], 0.2, "uniform")
    masks.hold(layers.values())
    zeros = {name: layer.weight == 0 for name, layer in layers.items()}
    shared, coded = codebook.code(net, {}, entries=4, vector=1, keep=(), seed=0)
    optimizer = torch.optim.SGD(net.parameters(), 1e-3, momentum=0.9, weight_decay=1e-3)
    net.train()
    for step in range(3):
        x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        net(x).square().mean().backward()
        shared.step()
        optimizer.step()
    shared.tie()
    assert {layer.layer for layer in coded} > set(layers)
    for name, layer in layers.items():
        assert torch.equal(layer.weight == 0, zeros[name])
        assert 2 <= _distinct(net, name, 1) <= 4


def test_sizes_are_counted_to_the_bit_and_nothing_grows() -> None:
    net = nn.Sequential(nn.Linear(64, 32, bias=False), nn.Linear(4, 4, bias=False))
    before = net[1].weight.detach().clone()
    shared, coded = codebook.code(net, {}, entries=16, vector=4, keep=(), seed=0)
    assert [layer.layer for layer in coded] == ["0"]  # 16 weights do not pay for 64 of codebook
    assert torch.equal(net[1].weight, before)
    assert coded[0].bits == 64 * 32 // 4 * 4 + 16 * 4 * 32
    assert codebook.stored(net, coded) == (4 * (2048 + 16), coded[0].bits // 8 + 4 * 16)
    assert set(shared.layers) == {"0"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_weight_that_is_no_number_does_not_make_all_so(value: float) -> None:
    net = nn.Sequential(nn.Linear(12, 40), nn.ReLU(), nn.Linear(40, 30))
    with torch.no_grad():
        net[2].weight[3, 4] = value
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(FieldwrenError, match=r"^2: its weights are NaN or .* take a lower lr"):
        codebook.code(net, {}, entries=8, vector=1, keep=(), seed=0)
    for name, values in net.state_dict().items():
        assert torch.equal(values.nan_to_num(7), before[name].nan_to_num(7)), name
    codebook.code(net, {}, entries=8, vector=1, keep=("2",), seed=0)


def test_an_importance_that_is_no_number_is_refused() -> None:
    net = nn.Sequential(nn.Linear(12, 40))
    importance = {"0": torch.full((40, 12), float("nan"))}
    with pytest.raises(FieldwrenError, match=r"^0: its gradients are NaN or"):
        codebook.code(net, importance, entries=8, vector=1, keep=(), seed=0)


@pytest.mark.parametrize("weighting", ["influence", "hessian"])
def test_the_stage_codes_tunes_and_reports(weighting: str, tmp_path: Path) -> None:
    shapes.make_folder(tmp_path / "shapes")
    task = shapes.make_task(tmp_path, shapes.write_recipe(tmp_path / "shapes.toml"))
    net = task.build()
    context = Context(task, 0, task.example(), None, tmp_path / "checkpoint.pt")
    step = Codebook.model_validate(
        {
            "kind": "codebook",
            "entries": 8,
            "vector": 2,
            "weighting": weighting,
            "keep": ["stem.*"],
            "finetune": {"epochs": 1, "lr": 1e-3, "optimizer": "adamw"},
        }
    )
    stem = net.get_parameter("stem.conv.weight").detach().clone()
    outcome = stage.run(context, net, step)
    assert len(outcome.log) == 1 and outcome.figures
    assert isinstance(outcome.structure, dict)
    layers = outcome.structure["layers"]
    assert isinstance(layers, list) and len(layers) > 5
    assert outcome.structure["stored_bytes"] < 0.5 * outcome.structure["float32_bytes"]
    for layer in layers:
        assert isinstance(layer, dict)
        assert _distinct(net, str(layer["layer"]), int(str(layer["vector"]))) <= 8
    assert not torch.equal(net.get_parameter("stem.conv.weight"), stem)  # tuned, but not coded
    assert _distinct(net, "stem.conv", 1) > 8


@pytest.mark.parametrize("weighting", ["none", "hessian"])
def test_recurrent_matrices_are_coded_too(weighting: str, tmp_path: Path) -> None:
    task = texts.task(tmp_path / "text")
    net = texts.network()
    context = Context(task, 0, task.example(), None, tmp_path / "checkpoint.pt")
    step = Codebook.model_validate(
        {
            "kind": "codebook",
            "entries": 4,
            "weighting": weighting,
            "keep": ["table.*"],
            "finetune": {"epochs": 1, "lr": 1e-3, "optimizer": "adamw"},
        }
    )
    before = copy.deepcopy(net.state_dict())
    outcome = stage.run(context, net, step)
    assert isinstance(outcome.structure, dict)
    layers = outcome.structure["layers"]
    assert isinstance(layers, list) and len(layers) == 4
    for name, value in net.state_dict().items():
        if value.ndim > 1:
            assert (len(value.unique()) <= 4) == (not name.startswith("table."))
            assert not torch.equal(value, before[name])


def test_a_codebook_larger_than_the_weights_is_refused(tmp_path: Path) -> None:
    shapes.make_folder(tmp_path / "shapes")
    task = shapes.make_task(tmp_path, shapes.write_recipe(tmp_path / "shapes.toml"))
    context = Context(task, 0, task.example(), None, tmp_path / "checkpoint.pt")
    step = Codebook(kind="codebook", entries=65536)
    with pytest.raises(FieldwrenError, match="take fewer"):
        stage.run(context, task.build(), step)
