"""A whole tiny search: through the pipeline, resumed in the middle, published and loaded again."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from rich.console import Console

from compress import pipeline, recipe
from compress.enas import latency
from compress.enas.controller import Controller
from compress.enas.cost import Geometry, Operator, Relative, Sum, macs
from compress.enas.extract import channels
from compress.enas.fake import FakePruning
from compress.enas.micro import Micro, rate
from compress.enas.search import Candidate, search
from compress.export import export
from compress.pipeline import FLOAT
from compress.recipe import load
from compress.stages import Context
from compress.stages import search as stage
from compress.tasks.birds import Birds, make
from compress.workers import InProcess
from device.errors import BadInputError
from models.enas import Architecture, Edge, Enas, Node, Place, Plan
from models.enas.cell import INPUT, Fit
from models.enas.narrow import narrow
from tests.compress import shapes
from tests.compress.enas import children
from tests.compress.rnn import texts


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("search")
    shapes.make_folder(root / "shapes")
    return root


def _task(root: Path, path: Path) -> tuple[recipe.Recipe, Birds]:
    loaded = load(str(path))
    return loaded, make(loaded.settings, (root,), 0)


def test_a_recipe_searches_trains_and_extracts(root: Path, tmp_path: Path) -> None:
    loaded, task = _task(root, children.write_recipe(tmp_path / "tiny.toml"))
    made = pipeline.train(loaded, task, tmp_path / "out", 0, Console(quiet=True))
    assert [stage.kind for stage in made.records] == ["enas", "baseline", "extract", "finetune"]
    searched, trained, extracted, _ = made.records
    assert {figure.title for figure in searched.figures} == {
        "search: reward",
        "search: Ratio",
        "search: Gap",
        "search: accuracy of one minibatch",
        "search: entropy of the controller",
    }
    assert searched.macs == trained.macs > extracted.macs
    assert extracted.mask_error is not None and extracted.mask_error <= 1e-5
    assert isinstance(made.baseline, Enas) and made.baseline is not made.result
    # a second run takes up every stage: the same child, as narrow
    published = tmp_path / "out" / "stages" / "00-enas" / "architecture.json"
    again = pipeline.train(loaded, task, tmp_path / "out", 0, Console(quiet=True))
    first, second = made.result.state_dict(), again.result.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert again.records == made.records
    found = Architecture.model_validate_json(published.read_bytes())
    assert isinstance(again.result, Enas) and again.result.architecture == found
    # another recipe takes the cells up and searches their ratios alone
    ratios = children.write_recipe(
        tmp_path / "ratios.toml",
        model=f"architecture = {json.dumps(str(published))}",
        search='decide = "ratios"\nratio = "macs"',
    )
    loaded, task = _task(root, ratios)
    other = pipeline.train(loaded, task, tmp_path / "ratios", 0, Console(quiet=True))
    assert isinstance(other.result, Enas) and other.result.architecture is not None
    assert other.result.architecture.unpruned() == found.unpruned()


def test_a_narrowed_child_converts(root: Path, tmp_path: Path) -> None:
    """Padding and picking included; TFLite computes what torch does."""
    _, task = _task(root, children.write_recipe(tmp_path / "tiny.toml"))
    edge = Edge(input=1, operation="sep3", ratio=0.5)
    nodes = (
        Node(left=edge, right=Edge(input=0, operation="avg", ratio=0.5)),
        Node(left=Edge(input=2, operation="identity", ratio=0.5), right=edge),
    )
    plan = Plan(nodes=nodes, ratios=(0.5, 0.0))
    torch.manual_seed(0)
    net = Enas(3, 4, 1, 2, Architecture(normal=plan, reduction=plan))
    net.train()(next(task.batches(0, 0))[0])
    narrow(net, channels(net, task.batches(0, 0), 12))
    assert any(len(fit.picks) for fit in net.modules() if isinstance(fit, Fit))
    assert any(fit.before for fit in net.modules() if isinstance(fit, Fit))
    made = export(task.deploy(net), FLOAT, tmp_path / "m.tflite", tmp_path / "golden.npz")
    assert made.float_error <= 1e-5


def test_channels_are_those_of_the_first_examples_taken_as_one_batch() -> None:
    """Six of eight images: the largest Σ|x| over them all stay."""
    edge = Edge(input=1, operation="identity")
    plan = Plan(nodes=(Node(left=edge, right=edge),), ratios=(0.5, 0.0))
    torch.manual_seed(0)
    net = Enas(3, 8, 1, 1, Architecture(normal=plan, reduction=plan)).eval()
    x = torch.randn(8, 3, 8, 8)
    x[6:, 0] += 50  # would decide alone if they counted

    def batches() -> Iterator[tuple[torch.Tensor, ...]]:
        yield x[:4], torch.zeros(4)
        yield x[4:], torch.zeros(4)
        pytest.fail("read on though there were enough")

    def largest(images: torch.Tensor) -> tuple[int, ...]:
        with torch.no_grad():
            sums = net.cells[0].first(net.stem(images)).abs().sum((0, 2, 3))  # type: ignore[operator]
        return tuple(sorted(sums.topk(8).indices.tolist()))

    kept = channels(net, batches(), 6)
    assert kept[Place(0, INPUT, "left", "out")] == largest(x[:6]) != largest(x)
    assert kept[Place(0, INPUT, "right", "out")] == tuple(range(16))


def test_ratio_can_be_milliseconds_of_measured_operators(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe's word reaches the reward; the table lies in the cache, measured once."""
    measured: list[Operator] = []

    def price(operator: Operator) -> float:
        return 1.0 + 2e-6 * operator.macs

    def clock(operators: Sequence[Operator]) -> list[float]:
        measured.extend(operators)
        return [price(operator) for operator in operators]

    monkeypatch.setattr(latency, "measured", clock)
    monkeypatch.setenv("FIELDWREN_CACHE", str(tmp_path / "cache"))
    path = children.write_recipe(
        tmp_path / "tiny.toml", search='decide = "cells"\nratio = "latency"'
    )
    loaded, task = _task(root, path)
    net = task.build()
    assert isinstance(net, Enas)
    geometry = Geometry.of(net, 16)
    context = Context(task, 0, task.example(), None, tmp_path / "checkpoint.pt")
    outcome = stage.run(context, net, loaded.search)  # type: ignore[arg-type]
    assert isinstance(outcome.structure, dict) and net.architecture is not None
    cost = Relative.of(geometry, price)
    expected = cost.ratio(net.architecture, geometry.whole())
    assert outcome.structure["ratio"] == pytest.approx(expected) and expected > 0
    count = len(measured)
    assert count and len(list((tmp_path / "cache" / "latency").glob("latency-*.json"))) == 1
    stage._cost(context, task.build(), loaded.search)  # type: ignore[arg-type]
    assert len(measured) == count


def test_an_interrupted_search_ends_as_one_that_was_not(root: Path, tmp_path: Path) -> None:
    loaded, task = _task(root, children.write_recipe(tmp_path / "tiny.toml"))
    step = loaded.search
    assert step is not None

    def run(checkpoint: Path, stop: int | None) -> object:
        torch.manual_seed(0)
        net = task.build()
        assert isinstance(net, Enas)
        space = Stopping(task, net, step, Sum(), InProcess(), 0)
        space.stop = stop
        return search(space, Controller(2, "both"), step, epochs=3, seed=0, checkpoint=checkpoint)

    whole = run(tmp_path / "whole.pt", None)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken.pt", 2)
    state = torch.load(tmp_path / "broken.pt", weights_only=True)
    assert run(tmp_path / "broken.pt", None) == whole
    older = {key: value for key, value in state.items() if key not in ("trials", "seconds")}
    torch.save(older, tmp_path / "older.pt")
    assert run(tmp_path / "older.pt", None) == whole
    (tmp_path / "older.pt").write_bytes(b"damaged")
    with pytest.raises(BadInputError, match=r"older\.pt: damaged"):
        run(tmp_path / "older.pt", None)


class Stopping(Micro):
    """A power cut at the start of an epoch."""

    stop: int | None = None

    def train(self, epoch: int, draw: object) -> float:
        if epoch == self.stop:
            raise KeyboardInterrupt
        return super().train(epoch, draw)  # type: ignore[arg-type]


def _space(root: Path, tmp_path: Path) -> Micro:
    """The tiny recipe's, with fresh weights; float32, as what the tests compute themselves."""
    exact = children.write_recipe(tmp_path / "tiny.toml", search='precision = "32-true"')
    loaded, task = _task(root, exact)
    assert loaded.search is not None
    torch.manual_seed(0)
    net = task.build()
    assert isinstance(net, Enas)
    return Micro(task, net, loaded.search, Sum(), InProcess(), 0)


def test_evaluations_do_not_depend_on_each_other(root: Path, tmp_path: Path) -> None:
    space = _space(root, tmp_path)
    candidates = [Candidate(children.drawn(n, 2, (0.0, 0.5)), n) for n in range(4)]
    together = space.evaluate(candidates)
    assert together == [space.evaluate([one])[0] for one in reversed(candidates)][::-1]
    assert len({one.ratio for one in together}) > 1


def test_an_unpruned_candidate_is_paid_for_cheap_operations(root: Path, tmp_path: Path) -> None:
    plain = _space(root, tmp_path)
    geometry = Geometry.of(plain.net, plain.task.minibatch(0, 1)[0].shape[-1])
    cost = Relative.of(geometry, macs)
    space = Micro(plain.task, plain.net, plain.step, cost, InProcess(), 0)
    path = children.drawn(0, 2, (0.0,))
    assert not any(path.ratios)
    (found,) = space.evaluate([Candidate(path, 0)])
    assert found.accuracy == found.pruned
    assert found.ratio == pytest.approx(cost.ratio(path, geometry.whole())) and found.ratio > 0


def test_what_is_faked_away_is_judged(root: Path, tmp_path: Path) -> None:
    space = _space(root, tmp_path)
    candidates = [Candidate(children.drawn(n, 2, (0.8,)), n) for n in range(6)]
    found = space.evaluate(candidates)
    for candidate, one in zip(candidates, found, strict=True):
        batch = space.task.minibatch(candidate.minibatch, space.step.batch)
        with torch.no_grad():
            logits = space.net.eval()(batch[0], candidate.choice, FakePruning())
        assert one.pruned == pytest.approx(float((logits.argmax(1) == batch[1]).float().mean()))
    assert any(one.pruned != one.accuracy for one in found)


def test_the_learning_rate_restarts() -> None:
    step = load("cifar10-enas").search
    assert step is not None
    assert [round(rate(epoch, step), 4) for epoch in (0, 5, 10, 20, 30)] == [
        0.05,
        0.0253,  # half-way down to .0005
        0.05,
        0.0253,
        0.05,
    ]


@pytest.mark.parametrize(
    ("model", "search_table", "message"),
    [
        ("", 'decide = "ratios"', 'decides "ratios" of a model with an architecture'),
        ('architecture = "nowhere.json"', "", r"model.*nowhere\.json: no such architecture"),
    ],
)
def test_what_does_not_fit_is_refused(
    root: Path, tmp_path: Path, model: str, search_table: str, message: str
) -> None:
    path = children.write_recipe(tmp_path / "bad.toml", model=model, search=search_table)
    with pytest.raises(BadInputError, match=message):
        loaded, task = _task(root, path)
        pipeline.train(loaded, task, tmp_path / "out", 0, Console(quiet=True))


def test_cells_without_a_search_are_refused(root: Path, tmp_path: Path) -> None:
    path = children.write_recipe(tmp_path / "bare.toml")
    text = path.read_text()
    start, end = text.index("[search]"), text.index("[baseline]")
    path.write_text(text[:start] + text[end:])
    loaded, task = _task(root, path)
    for steps in (loaded.steps, loaded.steps[1:]):  # with and without extract
        bare = loaded.model_copy(update={"steps": steps})
        with pytest.raises(BadInputError, match=r"an architecture, or a \[search\]"):
            pipeline.train(bare, task, tmp_path / "out", 0, Console(quiet=True))
    assert not (tmp_path / "out").exists()


def test_a_step_that_does_not_fit_is_refused_before_anything_is_trained(
    root: Path, tmp_path: Path
) -> None:
    path = shapes.write_recipe(tmp_path / "shapes.toml")
    loaded = load(str(path))
    for task, step, message in (
        (
            shapes.make_task(root, path),
            {"kind": "extract"},
            'extract needs a model of kind = "enas"',
        ),
        (texts.task(tmp_path), {"kind": "fake-prune"}, "the predict task grades no minibatches"),
    ):
        table = {**loaded.model_dump(), "settings": loaded.settings, "steps": [step]}
        wrong = recipe.Recipe.model_validate(table)
        with pytest.raises(BadInputError, match=message):
            pipeline.train(wrong, task, tmp_path / "out", 0, Console(quiet=True))
    assert not (tmp_path / "out").exists()
