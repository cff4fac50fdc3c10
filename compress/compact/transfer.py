"""What a convolution knows, handed to the block in its place: regression on what it reads.

    min Σ ‖block(x) − conv(x)‖²        Adam, minibatches of BATCH examples, cosine to zero

x   inputs of the convolution in the trained network, from training batches
The last quarter of the examples is held out: a block that learnt nothing that holds there starts
from scratch instead. Every block is taught on the original network's inputs, on its own, so the
order does not matter and a bad block does not spoil the next one's lesson.

After A. Romero et al. (FitNets, ICLR 2015), with the layer itself as the teacher. It is a start for
fine-tuning, not a substitute: errors add up over the network.
"""

import copy
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compress.strided import subsampled

BATCH = 32
HELD_OUT = 0.25
TINY = 1e-30


@dataclass(frozen=True)
class Lesson:
    """Held-out ‖block(x) − conv(x)‖² over the variance of conv(x)."""

    before: float
    after: float


def teach(block: nn.Module, conv: nn.Module, x: Tensor, steps: int, lr: float, seed: int) -> Lesson:
    """Train `block` in place to say what `conv` says of x [examples, …].

    Needs examples enough for a minibatch and some to hold out; with fewer, nothing is learnt.
    """
    held = math.ceil(len(x) * HELD_OUT)
    with torch.no_grad():
        y = conv(x)
    before = _error(block, x[-held:], y[-held:])
    if len(x) - held < 2 or steps == 0:
        return Lesson(before, before)
    fresh = copy.deepcopy(block.state_dict())
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(block.parameters(), lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    block.train()
    with subsampled(block):  # a fire block's first layer has few outputs, its second the stride
        for _ in range(steps):
            chosen = torch.randperm(len(x) - held, generator=generator)[:BATCH]
            loss = F.mse_loss(block(x[chosen]), y[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    after = _error(block, x[-held:], y[-held:])
    if not after < before:
        block.load_state_dict(fresh)
        return Lesson(before, before)
    return Lesson(before, after)


def _error(block: nn.Module, x: Tensor, y: Tensor) -> float:
    block.eval()
    with torch.no_grad():
        wrong = (block(x) - y).square().mean()
    return float(wrong / (y - y.mean((0, 2, 3), keepdim=True)).square().mean().clamp_min(TINY))
