"""Channel criteria by name: `score(group, statistics) -> Tensor[channels]`, low = first to go.

A group is torch_pruning's: (dependency, channel indices) pairs that must be pruned together.
`functools.partial(score, statistics=…)` is an `importance` that torch_pruning's pruners take.
"""

from compress.criteria import l1, random
from compress.criteria.base import Criterion

CRITERIA: dict[str, Criterion] = {"l1": l1.score, "random": random.score}
