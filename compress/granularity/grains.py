"""What is removed as a whole inside a kernel: single weights, rows of a window, windows, groups.

    weight   W[o, i, h, w]          fine-grained
    vector   W[o, i, h, :]          one row of a window, 1-D
    kernel   W[o, i, :, :]          one window, 2-D
    group    W[:, i, h, w]          one weight of all filters: they share a mask
    (filter  W[o, :, :, :]          is channel pruning: compress/prune.py)

H. Mao et al., "Exploring the granularity of sparsity in convolutional neural networks", CVPR
Workshops 2017. The score of a grain is the mean of its weights' scores, so that a sum over more
weights is no advantage where windows differ in size. Of a 1-D convolution a row is the window; of a
1 × 1 convolution or a matrix, row and window are the single weight and a group is a column.
"""

from collections.abc import Callable

from torch import Tensor

FIRST_OF_WINDOW = 2  # axes before it: out, in


def weight(scores: Tensor) -> Tensor:
    """Single weights."""
    return scores


def vector(scores: Tensor) -> Tensor:
    """Rows of a window: the mean over its last axis, which stays with length 1."""
    return scores.mean(-1, keepdim=True) if scores.ndim > FIRST_OF_WINDOW else scores


def kernel(scores: Tensor) -> Tensor:
    """Whole windows: the mean over all their axes, which stay with length 1."""
    window = tuple(range(FIRST_OF_WINDOW, scores.ndim))
    return scores.mean(window, keepdim=True) if window else scores


def group(scores: Tensor) -> Tensor:
    """The same weight of all filters: the mean over the first axis, which stays with length 1."""
    return scores.mean(0, keepdim=True)


GRAINS: dict[str, Callable[[Tensor], Tensor]] = {
    "weight": weight,
    "vector": vector,
    "kernel": kernel,
    "group": group,
}
