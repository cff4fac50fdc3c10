"""Stages that change structure, in one chain: prune, factorise, replace, zero, train, deploy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from torch import Tensor, nn

from compress import advance, count, export, pipeline, recipe, store
from compress.lowrank import FORMS, base, choose, latency
from compress.stages import STAGES, Context
from compress.stages import lowrank as lowrank_stage
from compress.steps import LowRank, Sparse, Step
from compress.tasks import birds
from device.errors import FieldwrenError
from device.runtime import Runtime
from models.layers import conv_norm
from models.resnet import ResNet
from tests.compress import shapes

CHAIN = """
[[steps]]
kind = "prune"
criterion = "l1"
ratio = 0.25
round_to = 4
[[steps]]
kind = "lowrank"
form = "tucker"
rank = "energy"
energy = 0.8
round_to = 4
keep = ["blocks.2.second.conv"]
[[steps]]
kind = "compact"
block = "inverted"
layers = ["blocks.2.second.conv"]
steps = 5
[[steps]]
kind = "sparse"
sparsity = 0.5
keep = ["stem.*"]
[[steps]]
kind = "finetune"
epochs = 1
lr = 0.01
distil = true
[[steps]]
kind = "quantize"
scheme = "static-int8"
samples = 8
"""


def _recipe(path: Path) -> Path:
    head, tail = shapes.RECIPE.split('[[steps]]\nkind = "prune"')
    tail = tail[tail.index("[gate]") :]
    path.write_text((head + CHAIN + tail).format(epochs=1, max_drop=100.0))
    return path


def test_the_chain_runs_resumes_and_deploys(tmp_path: Path) -> None:
    shapes.make_folder(tmp_path / "shapes")
    loaded = recipe.load(str(_recipe(tmp_path / "chain.toml")))
    task = birds.make(loaded.settings, (tmp_path,), 0)
    console = Console(quiet=True)
    pipeline.run(loaded, task, tmp_path / "out", 0, console)
    made = pipeline.train(loaded, task, tmp_path / "out", 0, console)  # from what was stored
    records = {record.kind: record for record in made.records}
    order = ["baseline", "prune", "lowrank", "compact", "sparse", "finetune"]
    assert list(records) == order
    costs = [records[kind].macs for kind in order]
    assert costs[0] > costs[1] > costs[2] > costs[3] == costs[4] == costs[5]
    assert all(records[kind].figures for kind in ("lowrank", "compact", "sparse"))
    net = made.result
    state = torch.load(tmp_path / "out/stages/05-finetune/state.pt", weights_only=True)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    structure = records["sparse"].structure
    assert isinstance(structure, list) and not any("stem" in str(name) for name in structure)
    for name in structure:
        zeros = (net.get_submodule(str(name)).weight == 0).float().mean()
        assert float(zeros) == pytest.approx(0.5, abs=0.02)
    example = task.example()
    assert count.macs(net, example) == records["finetune"].macs
    runtime = Runtime(tmp_path / "out/shapes/model.tflite")
    logits = runtime({"image": example.permute(0, 2, 3, 1).contiguous().numpy()})["logits"]
    assert np.isfinite(logits).all()


def _net() -> ResNet:
    torch.manual_seed(0)
    return ResNet(8, 4, 16).eval()


def _step(**changes: Any) -> LowRank:
    return LowRank.model_validate({"kind": "lowrank", "form": "tucker", "round_to": 4, **changes})


def test_the_norm_behind_folds_as_before(tmp_path: Path) -> None:
    """One operator per small convolution: nothing is left of the norms."""
    torch.manual_seed(0)
    block = conv_norm(16, 16, 3, activation=nn.ReLU())
    nn.init.uniform_(block.norm.weight, 0.5, 1.5)
    nn.init.normal_(block.norm.bias)
    block.eval()
    x = torch.randn(1, 16, 8, 8)
    made = base.factorised(FORMS["tucker"], block.conv, (8, 8))
    block.set_submodule("conv", made)
    with torch.no_grad():
        expected = block(x)
    path = tmp_path / "one.tflite"
    nhwc = x.permute(0, 2, 3, 1).contiguous()
    export.write(latency.Alone(block), (nhwc,), path)
    runtime = Runtime(path)
    found = runtime({"args_0": nhwc.numpy()})["output_0"]
    np.testing.assert_allclose(found, expected.permute(0, 2, 3, 1).numpy(), atol=1e-5)
    from compress import quantization

    assert quantization.inspect(path).operators == {"CONV_2D": 3}


@pytest.mark.parametrize("rank", [{"rank": "energy", "energy": 0.99}, {"rank": "vbmf"}])
def test_nothing_gets_larger(rank: dict[str, Any]) -> None:
    net, x = _net(), torch.randn(1, 3, 16, 16)
    for form in FORMS.values():
        for name in ("stem.conv", "blocks.0.first.conv", "blocks.1.shortcut.conv"):
            conv = net.get_submodule(name)
            assert isinstance(conv, nn.Conv2d)
            if not form.applies(conv):
                continue
            seen = torch.randn(1, conv.in_channels, 8, 8)
            ranks = choose.ranks(form, conv, seen, _step(**rank))
            if ranks is not None:
                before = base.cost(conv, seen.shape)
                after = base.cost(base.hollow(form, conv, ranks), seen.shape)
                assert after[0] < before[0] and after[1] < before[1]
    assert count.macs(net, x) > 0


def test_a_share_of_the_cost_is_met_with_the_largest_ranks() -> None:
    conv, x = nn.Conv2d(24, 32, 3, padding=1), torch.randn(1, 24, 8, 8)
    whole = base.cost(conv, x.shape)[0]
    for name, form in FORMS.items():
        step = _step(form=name, rank="macs", share=0.5, round_to=1)
        ranks = choose.ranks(form, conv, x, step)
        assert ranks is not None
        assert base.cost(base.hollow(form, conv, ranks), x.shape)[0] <= 0.5 * whole
        more = tuple(rank + 2 for rank in ranks)
        assert base.cost(base.hollow(form, conv, more), x.shape)[0] > 0.5 * whole


def test_the_largest_within_a_budget_is_found_by_bisection() -> None:
    line = [(rank,) for rank in range(1, 40)]
    for most in (0, 1, 17, 39):
        asked: list[base.Ranks] = []

        def within(ranks: base.Ranks, most: int = most, asked: list[base.Ranks] = asked) -> bool:
            asked.append(ranks)
            return ranks[0] <= most

        assert choose.largest(line, within) == ((most,) if most else None)
        assert len(asked) <= 6  # a conversion and a measurement each


def test_ranks_by_measured_time() -> None:
    """At rank 32 there is .56 of the work, at 64 more than in the convolution itself."""
    conv, x = nn.Conv2d(64, 64, 3, padding=1), torch.randn(1, 64, 16, 16)
    step = _step(form="channel", rank="latency", share=0.95, round_to=32)
    assert choose.ranks(FORMS["channel"], conv, x, step) == (32,)


def test_a_rule_and_its_number_belong_together() -> None:
    for wrong in ({"rank": "energy"}, {"rank": "vbmf", "energy": 0.5}, {"rank": "macs"}):
        with pytest.raises(ValidationError, match="belongs"):
            _step(**wrong)


def _alone(kind: str, table: str, tmp_path: Path) -> store.Record:
    shapes.make_folder(tmp_path / "shapes")
    path = _recipe(tmp_path / "one.toml")
    text = path.read_text()
    path.write_text(text.replace(text[text.index("[[steps]]") : text.index("[gate]")], table))
    loaded = recipe.load(str(path))
    task = birds.make(loaded.settings, (tmp_path,), 0)
    place = store.Place(tmp_path / "stage", "key")
    return advance.advance(
        place,
        task,
        task.build(),
        loaded.steps[0],  # type: ignore[arg-type]
        seed=0,
        example=task.example(),
        teacher=None,
        say=lambda _: None,
    )


@pytest.mark.parametrize(
    ("kind", "table", "message"),
    [
        ("lowrank", 'form = "cp"\nrank = "energy"\nenergy = 1.0', "no convolution gets cheaper"),
        ("compact", 'block = "ghost"\nlayers = ["nothing"]', 'is called "nothing"'),
        ("compact", 'block = "inverted"\nsize = 9\nlayers = ["*"]\nsteps = 0', "not be smaller"),
        ("sparse", 'sparsity = 0.5\nkeep = ["*"]', "nothing to zero"),
        ("sparse", 'sparsity = 0.5\nkeep = ["stam.*"]', 'no layer is called "stam'),
    ],
)
def test_what_cannot_be_done_is_said(kind: str, table: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(FieldwrenError, match=message):
        _alone(kind, f'[[steps]]\nkind = "{kind}"\n{table}\n', tmp_path)


def test_sparse_names_the_recurrent_layers_it_leaves_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Task:
        def head(self, net: nn.Module) -> list[nn.Module]:
            return []

    net = nn.ModuleDict({"sub": nn.LSTM(8, 8, 2), "out": nn.Linear(8, 8)})
    context = Context(Task(), 0, torch.rand(1), None, tmp_path)  # type: ignore[arg-type]
    step = Sparse(kind="sparse", sparsity=0.5)
    outcome = STAGES["sparse"].run(context, net, step)
    assert outcome.structure == ["out"]
    assert outcome.figures[0].title.endswith("every layer but sub")
    assert "recurrent layers stay whole: sub\n" in capsys.readouterr().out


class _Twice(nn.Module):
    """One convolution under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.second = nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.first(x)).flatten(1)
        return y


@pytest.mark.parametrize(
    "table",
    [
        {"kind": "lowrank", "form": "channel", "rank": "macs", "share": 0.6},
        {"kind": "compact", "block": "ghost", "layers": ["second"], "steps": 2},
    ],
)
def test_a_layer_with_two_names_is_replaced_under_both(
    table: dict[str, Any], tmp_path: Path
) -> None:
    class Task:
        def batches(self, epoch: int, seed: int) -> list[tuple[Tensor]]:
            return [(torch.rand(8, 16, 6, 6),)]

        def loss(self, net: nn.Module, batch: tuple[Tensor], teacher: object) -> Tensor:
            return net(batch[0]).mean()

        def deploy(self, net: nn.Module) -> None:
            pass

    step: Any = TypeAdapter(Step).validate_python(table)
    net, again = _Twice(), _Twice()
    before = count.parameters(net)
    context = Context(Task(), 0, torch.rand(1, 16, 6, 6), None, tmp_path)  # type: ignore[arg-type]
    outcome = STAGES[step.kind].run(context, net, step)
    assert isinstance(outcome.structure, list) and len(outcome.structure) == 1
    assert net.first is net.second and not isinstance(net.first, nn.Conv2d)
    assert count.parameters(net) < before
    record = store.Record.model_construct(structure=outcome.structure)
    STAGES[step.kind].rebuild(again, context.example, record)
    again.load_state_dict(net.state_dict())
    assert again.first is again.second
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(context.example), net.eval()(context.example))


def test_one_dimensional_networks_are_factorised() -> None:
    net = nn.Sequential(nn.Conv1d(8, 16, 3, dilation=2), nn.ReLU(), nn.Conv1d(16, 4, 1))
    assert lowrank_stage.candidates(net, ()) == ["0", "2"]
    conv = net.get_submodule("0")
    assert isinstance(conv, nn.Conv1d)
    x = torch.randn(1, 8, 40)
    ranks = choose.ranks(FORMS["cp"], conv, x, _step(form="cp", rank="macs", share=0.8))
    assert ranks is not None
    before: Tensor = net(x)
    net.set_submodule("0", base.factorised(FORMS["cp"], conv, ranks))
    assert net(x).shape == before.shape
