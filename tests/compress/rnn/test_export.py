"""A compressed recurrent network as one TFLite step with its states outside, word after word."""

from pathlib import Path

import pytest
import torch

from compress import count, export
from compress.rnn import columns, units, wires
from compress.rnn.adopt import recurrent
from compress.rnn.factorise import Factorisation
from compress.steps import Quantize
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
