"""What plans cost: predictions against removal, files and TFLite's own arithmetic."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from compress import prune
from compress.costs import COSTS, Subject
from compress.costs.line import Line, halved
from compress.costs.milliseconds import Milliseconds
from compress.costs.one_layer import Form, write
from compress.costs.table import Table, measure
from compress.prune import Cut, Plan
from compress.sizes import Size
from compress.task import Deployed
from compress.tasks.birds import Deploy
from device.errors import FieldwrenError
from device.manifest import ImageInput
from device.runtime import Runtime
from tests.compress import graphs, patterns

X = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def _deploy(net: nn.Module) -> Deployed:
    return Deployed(
        net=Deploy(net).eval(),
        inputs={"image": ""},
        outputs={"logits": ""},
        states=(),
        preprocessing=ImageInput(height=16, width=16, mean=(0, 0, 0), std=(1, 1, 1)),
        examples=[{"image": X.permute(0, 2, 3, 1).contiguous().numpy()}],
    )


def _groups(net: nn.Module, share: float = 0.0) -> Plan:
    scored = prune.score_groups(net, X, [net.get_submodule("classifier")], "random", 0)
    cuts = []
    for cut in prune.untouched(scored).cuts:
        removed = tuple(range(round(share * cut.channels)))
        cuts.append(Cut(**{**cut.model_dump(), "removed": removed}))
    return Plan(cuts=tuple(cuts))


@pytest.mark.parametrize("key", ["ratio", "macs", "parameters"])
@pytest.mark.parametrize("name", ["residual", "depthwise", "concat"])
def test_counted_costs_are_predicted_exactly(name: str, key: str) -> None:
    net = graphs.make(name)
    cost = COSTS[key](Subject(net, X, _groups(net), _deploy))
    for share in (0.0, 0.4):
        plan = _groups(net, share)
        pruned = prune.remove(copy.deepcopy(net), X, plan)
        assert cost.predicted(plan) == pytest.approx(cost.measured(plan, pruned), rel=1e-9)


def test_bytes_are_those_of_the_file_and_predicted_closely() -> None:
    net = graphs.make("chain")
    cost = COSTS["bytes"](Subject(net, X, _groups(net), _deploy))
    plan = _groups(net, 0.5)
    pruned = prune.remove(copy.deepcopy(net), X, plan)
    measured = cost.measured(plan, pruned)
    whole = cost.predicted(_groups(net))
    assert measured < 0.6 * whole
    assert cost.predicted(plan) == pytest.approx(measured, abs=0.03 * whole)


FORMS = {
    "dense": (Form("dense", (9, 7), (3, 3), (2, 2), padded=False), 8, 6),
    "dense, padded": (Form("dense", (9, 7), (3, 3), padded=True), 8, 6),
    "dense, dilated": (Form("dense", (1, 20), (1, 3), dilation=(1, 4)), 8, 6),
    "grouped": (Form("dense", (8, 8), (3, 3), padded=True, groups=2), 8, 6),
    "depthwise": (Form("depthwise", (9, 9), (5, 5), padded=True), 0, 8),
    "linear": (Form("linear", (3, 1)), 8, 6),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_layer_file_computes_the_layer(name: str, tmp_path: Path) -> None:
    form, inputs, outputs = FORMS[name]
    write(tmp_path / "layer.tflite", form, inputs, outputs)
    runtime = Runtime(tmp_path / "layer.tflite")
    x = np.random.default_rng(1).standard_normal(runtime.inputs["args_0"]["shape"])
    y = runtime({"args_0": x.astype(np.float32)})["output_0"]
    random = np.random.default_rng(0)  # the file's own weights, in the order they are written
    window = {
        "dense": (outputs, *form.kernel, inputs // form.groups),
        "depthwise": (1, *form.kernel, outputs),
        "linear": (outputs, inputs),
    }[form.kind]
    W = torch.from_numpy(random.standard_normal(window).astype(np.float32))
    b = torch.from_numpy(random.standard_normal(outputs).astype(np.float32))
    z = torch.from_numpy(x.astype(np.float32))
    if form.kind == "linear":
        expected = F.linear(z, W, b)
    else:
        groups = outputs if form.kind == "depthwise" else form.groups
        W = W.permute(3, 0, 1, 2) if form.kind == "depthwise" else W.permute(0, 3, 1, 2)
        padding = form.kernel[0] // 2 if form.padded else 0
        expected = F.conv2d(
            z.permute(0, 3, 1, 2), W, b, form.stride, padding, form.dilation, groups
        ).permute(0, 2, 3, 1)
    assert np.allclose(y, expected, atol=1e-4)


def test_tables_interpolate_between_what_was_measured() -> None:
    net = graphs.make("residual")
    cost = COSTS["macs"](Subject(net, X, _groups(net), _deploy))
    sizes = Subject(net, X, _groups(net), _deploy).sizes()
    table = Table(net, sizes, _deploy(net))
    whole = table.total({name: layer.size for name, layer in sizes.layers.items()})
    assert whole > 0
    assert table.total(sizes.after(_groups(net, 0.75))) < whole
    form, (inputs, outputs) = next(
        (form, grid) for form, grid in table._grids.items() if len(grid[0]) > 2
    )
    times = table._times[form]
    assert np.isfinite(times).all()
    assert table.layer(form, Size(inputs[1], outputs[2])) == pytest.approx(times[1, 2])
    between = table.layer(form, Size((inputs[0] + inputs[1]) // 2, outputs[0]))
    assert min(times[:2, 0]) <= between <= max(times[:2, 0])
    assert cost.predicted(_groups(net, 0.75)) < cost.predicted(_groups(net))


def test_more_channels_are_not_measured_as_less_work() -> None:
    form = Form("dense", (32, 32), (3, 3), padded=True)
    times = measure({form: ([8, 64], [8, 64])})[form]
    assert times[1, 1] > 4 * times[0, 0]  # 64 times the work


def test_milliseconds_are_pinned_to_the_whole_network() -> None:
    net = graphs.make("chain")
    cost = COSTS["milliseconds"](Subject(net, X, _groups(net), _deploy))
    assert isinstance(cost, Milliseconds)
    assert cost.predicted(_groups(net)) == pytest.approx(cost._whole)
    assert 0 < cost.predicted(_groups(net, 0.75)) < cost._whole


class Up(nn.Module):
    """A transposed convolution, which no table knows."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 3, padding=1)
        self.up = nn.ConvTranspose2d(64, 64, 2, stride=2)
        self.classifier = nn.Linear(64, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.classifier(self.up(F.relu(self.stem(x))).mean((2, 3)))
        return y


def test_without_an_entry_a_line_goes_through_two_measured_networks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    net = Up().eval()
    cost = COSTS["milliseconds"](Subject(net, X, _groups(net), _deploy))
    assert "up, a ConvTranspose2d, has no place in the table" in capsys.readouterr().out
    assert isinstance(cost, Milliseconds)
    macs = COSTS["macs"](Subject(net, X, _groups(net), _deploy))
    plans = [_groups(net, share) for share in (0.0, 0.5, 0.75)]
    (whole, half, less), work = map(cost.predicted, plans), [*map(macs.predicted, plans)]
    assert 0 < half < 0.8 * whole  # a third of the work
    expected = whole - (whole - half) * (work[0] - work[2]) / (work[0] - work[1])
    assert less == pytest.approx(expected)


def test_the_line_is_pinned_to_both_measurements() -> None:
    net = Up().eval()
    subject = Subject(net, X, _groups(net), _deploy)
    whole, half = _groups(net), _groups(net, 0.5)
    widths: list[int] = []

    def timed(*nets: nn.Module) -> NDArray[np.float64]:
        widths.extend(net.get_submodule("stem").out_channels for net in nets)  # type: ignore[misc]
        return np.array([[5.0, 5.5, 5.1], [3.2, 3.0, 3.1]])

    line = Line(subject, timed)
    assert widths == [64, 32]
    assert (line.predicted(whole), line.predicted(half)) == pytest.approx((5.0, 3.0))


@pytest.mark.parametrize(
    "half",
    [
        [5.05, 5.05, 5.05],  # slower than the whole
        [4.95, 5.2, 5.1],  # faster by .05 where a round is usually .1 or more above the floor
    ],
)
def test_no_line_goes_through_times_that_chance_could_have_made(half: list[float]) -> None:
    net = Up().eval()
    subject = Subject(net, X, _groups(net), _deploy)
    line = Line(subject, lambda *_: np.array([[5.0, 5.1, 5.2], half]))
    assert line.predicted(_groups(net)) == 5.0  # a budget that is met as it is
    with pytest.raises(FieldwrenError, match="cannot tell what channels save: try again"):
        line.predicted(_groups(net, 0.25))


def test_half_of_every_group_leaves_each_portion_of_a_split_a_channel() -> None:
    net = patterns.shaken(patterns.SMALL["split by sizes"](16))
    plan = halved(Subject(net, X, _groups(net), _deploy))
    # the first 4 of the stem's 16 channels are a portion
    assert {cut.layer: cut.removed for cut in plan.cuts} == {
        "stem.conv": (0, 1, 2, 4, 5, 6, 7, 8),
        "body.large.conv": tuple(range(8)),
    }
    prune.proven(net, X, plan)


def test_the_line_is_level_where_halves_save_nothing() -> None:
    net = Up().eval()
    same = np.array([[5.0, 5.0], [4.9, 4.9]])
    line = Line(Subject(net, X, Plan(cuts=()), _deploy), lambda *_: same)
    assert line.predicted(Plan(cuts=())) == 5.0
