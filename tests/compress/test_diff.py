"""The printed difference between two networks."""

import torch
from torch import nn

from compress import allocation, diff, prune
from compress.quantization.learned import Ranges
from compress.steps import Prune
from models.resnet import ResNet


def test_shows_what_pruning_made_of_every_layer() -> None:
    before, example = ResNet(8, 10), torch.rand(1, 3, 16, 16)
    step = Prune(kind="prune", criterion="l1", ratio=0.5)
    after = ResNet(8, 10)
    plan = allocation.make_plan(after, example, [after.classifier], step, 0)
    prune.remove(after, example, plan)
    lines = diff.modules(before, after).splitlines()
    place = lines.index(next(line for line in lines if line.startswith("- blocks.0.first.conv:")))
    assert "Conv2d(16, 16, kernel_size=(3, 3)" in lines[place]
    assert lines[place + 1].startswith("+ blocks.0.first.conv: Conv2d(8, 8, kernel_size=(3, 3)")
    assert not any("ReLU" in line for line in lines)


def test_names_layers_that_came_and_went() -> None:
    before = nn.Sequential(nn.Linear(4, 4))
    after = nn.Sequential(nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 4)))
    lines = diff.modules(before, after).splitlines()
    assert [line.split(":")[0] for line in lines] == ["- 0", "+ 0.0", "+ 0.1"]
    assert diff.modules(before, before) == ""


def test_ranges_of_quantization_aware_training_are_no_layer() -> None:
    before, after = nn.Sequential(nn.Linear(4, 4)), nn.Sequential(nn.Linear(4, 4))
    after.add_module("ranges", Ranges([["x"]]))
    assert diff.modules(before, after) == ""
