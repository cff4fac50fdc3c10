"""A compressed recurrent network as one TFLite step with its states outside, word after word."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress import count, export
from compress.rnn import columns, units, wires
from compress.rnn.adopt import adopt, recurrent
from compress.rnn.factorise import Factorisation
from compress.rnn.forms import by_count
from compress.steps import Quantize
from compress.task import OneStep
from device.runtime import Runtime
from tests.compress.rnn import texts


def test_gathered_and_factorised_matrices_run_in_the_runtime(tmp_path: Path) -> None:
    task = texts.task(tmp_path / "text")
    torch.manual_seed(0)
    net = task.build().eval()
    whole = count.parameters(net)
    found = wires.readers(net, task.example())
    units.remove(net, found, {"layers.0": torch.tensor([1, 5])})
    first = recurrent(net)["layers.0"]
    random = torch.rand(4, first.inputs, generator=torch.Generator().manual_seed(2))
    columns.keep_columns(first.x, columns.lowest(random, 0.5))
    work = Factorisation(net, ["layers.0.x"])
    work.apply(work.within(int(0.65 * whole)))
    kinds = {(part.kept is None, part.rank is None) for part in (*first.x.parts, *first.h.parts)}
    assert (False, True) in kinds  # gathered
    assert any(part.rank for side in work.sides.values() for part in side.parts)
    step = task.one_step(net)["step"]
    assert list(step.inputs) == ["word", "h0", "c0", "h1", "c1"]
    assert list(step.outputs) == ["logits", "h0", "c0", "h1", "c1"]
    model = tmp_path / "step.tflite"
    numbers = Quantize.model_validate({"kind": "quantize", "scheme": "fp32"})
    made = export.export(step, numbers, model, tmp_path / "golden.npz")
    assert made.float_error <= 1e-5
    assert [spec.shape for spec in made.inputs] == [(1, 1), (1, 14), (1, 14), (1, 12), (1, 12)]
    # through the runtime, states carried by the host: the same text, the same perplexity
    from_file = task.evaluate_files({"step": model}, "validation").scores["ppl"]
    assert from_file == pytest.approx(task.evaluate(net, "validation").scores["ppl"], rel=0.05)


def test_a_gate_that_reads_nothing_any_more_runs_in_the_runtime(tmp_path: Path) -> None:
    """Whose columns went with units that a later step removed."""
    task = texts.task(tmp_path / "text")
    torch.manual_seed(0)
    net = task.build().eval()
    first, second = recurrent(net)["layers.0"], recurrent(net)["layers.1"]
    first.h.store([texts.gathered(16, 16, own) for own in ([2], [2, 3], [2, 7], [5, 9])])
    second.x.store([texts.gathered(12, 16, [3]) for _ in range(4)])
    units.remove(net, wires.readers(net, task.example()), {"layers.0": torch.tensor([2, 3])})
    work = Factorisation(net)
    work.apply(work.cheapest("energy", 0.9, by_count))
    model = tmp_path / "step.tflite"
    numbers = Quantize.model_validate({"kind": "quantize", "scheme": "fp32"})
    made = export.export(task.one_step(net)["step"], numbers, model, tmp_path / "golden.npz")
    assert made.float_error <= 1e-5
    from_file = task.evaluate_files({"step": model}, "validation").scores["ppl"]
    assert from_file == pytest.approx(task.evaluate(net, "validation").scores["ppl"], rel=0.05)


class Frames(nn.Module):
    """Two layers of a streaming network, their states outside."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU]) -> None:
        super().__init__()
        self.rnn, self.out = kind(8, 12, 2, batch_first=True), nn.Linear(12, 3)

    def forward(self, frame: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """[1, frames, 8] and states [2, 1, 12] → the last frame's answer, states."""
        y, ends = self.rnn(frame, states if len(states) > 1 else states[0])
        return (self.out(y[:, -1]), *((ends,) if isinstance(ends, Tensor) else ends))


@torch.no_grad()
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_both_kinds_of_layer_run_in_the_runtime(
    kind: type[nn.LSTM] | type[nn.GRU], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net = adopt(Frames(kind)).eval()
    first = recurrent(net)["rnn.layers.0"]
    columns.keep_columns(first.x, columns.lowest(torch.rand(first.x.groups, 8), 0.5))
    work = Factorisation(net, ["rnn.layers.0.x"])
    work.apply(work.cheapest("energy", 0.4, by_count))
    assert all(part.kept == 4 for part in first.x.parts) and first.h.parts[0].rank is not None
    names = ("h", "c") if kind is nn.LSTM else ("h",)
    zeros = {name: np.zeros((2, 1, 12), np.float32) for name in names}
    frames = torch.randn(5, 1, 1, 8)
    step = OneStep(
        net=net,
        inputs={"frame": "", **dict.fromkeys(names, "")},
        outputs={"answer": "", **dict.fromkeys(names, "")},
        examples=[{"frame": frame.numpy(), **zeros} for frame in frames],
    )
    model = tmp_path / "step.tflite"
    numbers = Quantize.model_validate({"kind": "quantize", "scheme": "fp32"})
    assert export.export(step, numbers, model, tmp_path / "golden.npz").float_error <= 1e-5
    runtime, states = Runtime(model), list(zeros.values())
    for frame in frames:
        given = [frame.numpy(), *states]
        found = runtime({f"args_{index}": value for index, value in enumerate(given)})
        answer, *states = (found[f"output_{index}"] for index in range(len(given)))
    expected = net(frames.transpose(0, 1)[:, :, 0], *map(torch.from_numpy, zeros.values()))
    np.testing.assert_allclose(answer, expected[0].numpy(), atol=1e-5)
