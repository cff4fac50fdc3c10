"""Criteria on networks of 16 bits, for which the CPU has not every operator."""

import pytest
import torch
from torch import Tensor, nn

from compress import allocation
from compress.criteria import hrank
from compress.statistics import Calibration
from compress.steps import Prune


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_fpgm_scores_networks_of_16_bits_as_those_of_32(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)).to(dtype)
    step = Prune(kind="prune", criterion="fpgm", ratio=0.5, round_to=1)
    plans = []
    for kind in (dtype, torch.float32):
        x: Tensor = torch.rand(1, 3, 8, 8).to(kind)
        plans.append(allocation.make_plan(net.to(kind), x, [net[2]], step, 0))
    assert plans[0] == plans[1] and plans[0].cuts[0].kept == 4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_hrank_takes_maps_of_16_bits_and_does_not_count_their_rounding(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 2, 1, bias=False)).to(dtype)
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(2).view(2, 2, 1, 1))
    x = torch.rand(3, 2, 6, 6) + 0.5
    x[:, 1] = x[:, 0, :, :1] * x[:, 0, :1]  # of rank 1
    batches = [(x.to(dtype),)]
    found = hrank.gather(Calibration(net, lambda net, b: net(b[0]).sum(), batches), 0)
    full, flat = found[net[0]].tolist()
    assert full > 5 and flat == 1
