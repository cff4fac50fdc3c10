"""Channel criteria by name: `score(group, statistics) -> Tensor[channels]`, low = first to go.

A group is torch_pruning's: (dependency, channel indices) pairs that must be pruned together.
`functools.partial(score, statistics=…)` is an `importance` that torch_pruning's pruners take.
"""

from compress.criteria import (
    activation,
    bn_scale,
    fpgm,
    hrank,
    influence,
    l1,
    l2,
    obd,
    permutation,
    permutation_cosine,
    permutation_expected,
    permutation_literal,
    permutation_reinit,
    permutation_shuffles,
    permutation_ssim,
    permutation_zero,
    random,
    taylor,
    thinet,
)
from compress.criteria.base import Criterion

CRITERIA: dict[str, Criterion] = {
    "random": random.score,
    "l1": l1.score,
    "l2": l2.score,
    "fpgm": fpgm.score,
    "bn_scale": bn_scale.score,
    "taylor": taylor.score,
    "obd": obd.score,
    "activation": activation.score,
    "hrank": hrank.score,
    "thinet": thinet.score,
    "influence": influence.score,
    "permutation": permutation.score,
    "permutation-literal": permutation_literal.score,
    "permutation-shuffles": permutation_shuffles.score,
    "permutation-zero": permutation_zero.score,
    "permutation-reinit": permutation_reinit.score,
    "permutation-expected": permutation_expected.score,
    "permutation-cosine": permutation_cosine.score,
    "permutation-ssim": permutation_ssim.score,
}
