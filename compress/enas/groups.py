"""The space of ratios over a fixed network: one for every group of channels that go together.

The groups are those of compress/prune.py: a convolution, or all that a residual sum ties. A
group's feature maps are read behind its norms, or behind layers without one. Tied layers must
lose the same channels, so they are ranked together, before anything is masked: the unpruned run
of the minibatch gives the sums, the second run the masks. [C]

    s_c = mean over the group's maps of  Σ|x_c| / the map's mean over c

The weights stay as they are; only the controller learns.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from compress import precision, prune
from compress.costs import COSTS, Cost, Subject
from compress.criteria import members
from compress.criteria.base import Group
from compress.criteria.members import TINY, Member
from compress.enas.grades import Searchable, placed
from compress.enas.reward import Evaluation
from compress.enas.search import Candidate
from compress.prune import Cut, Plan, Scored
from compress.steps.fake_prune import FakePrune
from compress.workers import Shared, Workers

Ratios = tuple[float, ...]  # one a group
NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm)


@dataclass(frozen=True)
class Site:
    """Where a group's channels can be seen and masked: the output of one layer."""

    group: int
    layer: str
    channels: tuple[int, ...]  # of the layer
    entries: tuple[int, ...]  # of the group


@dataclass(frozen=True)
class Ties:
    """All groups of a network: what is the same for every candidate."""

    scored: tuple[Scored, ...]  # by L1, which nobody reads
    sites: tuple[Site, ...]

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """The groups, of which nothing is removed yet."""
        return prune.untouched(self.scored).cuts

    @classmethod
    def of(cls, net: nn.Module, example: Tensor, head: Sequence[nn.Module], seed: int) -> "Ties":
        """The groups of `net` that hold no layer of `head`."""
        scored = tuple(prune.score_groups(net, example, head, "l1", seed))
        whole = prune.untouched(scored)
        groups = prune.whole_groups(net, example, whole)
        names = {module: name for name, module in net.named_modules()}
        sites = tuple(
            Site(number, names[one.layer], tuple(one.channels.tolist()), _entries(one, cut))
            for number, (cut, group) in enumerate(zip(whole.cuts, groups, strict=True))
            for one in _seen(group)
        )
        return cls(scored, sites)

    def choose(self, sums: Sequence[Tensor], ratios: Ratios, multiple: int) -> Plan:
        """The plan that removes, of every group, its ratio of channels with the smallest sums.

        Of a portion of a torch.split the channel with the largest sum stays.
        """
        cuts = []
        for one, own, ratio in zip(self.scored, sums, ratios, strict=True):
            channels = len(own)
            count = max(1, channels - round(ratio * channels))
            count = min(channels, -(-count // multiple) * multiple)
            places = own.argsort(descending=True, stable=True).argsort()
            cuts.append(replace(one, scores=-places).cut(count))  # of equal sums the first stays
        return Plan(cuts=tuple(cuts))


@dataclass(frozen=True)
class Saving:
    """Ratio = Σ ratio(l); with a cost, n·(1 − C(plan) / C(whole)), as in compress/enas/cost.py.

    ratio(l) is what the plan takes of group l: rounding may take less than was picked.
    """

    cost: Cost | None
    whole: float = 0.0

    @classmethod
    def of(cls, unit: str, subject: Subject) -> "Saving":
        """In a unit of compress/costs, or "sum"."""
        if unit == "sum":
            return cls(None)
        cost = COSTS[unit](subject)
        return cls(cost, cost.predicted(subject.groups))

    def ratio(self, plan: Plan) -> float:
        """Of the plan that a candidate came to."""
        if self.cost is None:
            return sum(len(cut.removed) / cut.channels for cut in plan.cuts)
        return len(plan.cuts) * (1 - self.cost.predicted(plan) / self.whole)


@contextmanager
def watched(net: nn.Module, ties: Ties) -> Iterator[list[Tensor]]:
    """While open, sums [channels] of every group add up over the batches that run."""
    sums = [torch.zeros(len(one.scores)) for one in ties.scored]
    count = [sum(site.group == group for site in ties.sites) for group in range(len(sums))]

    def look(site: Site, x: Tensor, axis: int) -> Tensor:
        rest = [number for number in range(x.ndim) if number != axis]
        own = x.detach().float().abs().sum(rest).cpu()[list(site.channels)]
        share = own / own.mean().clamp_min(TINY) / count[site.group]
        sums[site.group].index_add_(0, torch.tensor(site.entries), share)
        return x

    with _hooked(net, ties.sites, look):
        yield sums


@contextmanager
def masked(net: nn.Module, ties: Ties, plan: Plan) -> Iterator[None]:
    """While open, the plan's channels are zero wherever they are made."""
    removed = [frozenset(cut.removed) for cut in plan.cuts]

    def hide(site: Site, x: Tensor, axis: int) -> Tensor:
        pairs = zip(site.channels, site.entries, strict=True)
        gone = [channel for channel, entry in pairs if entry in removed[site.group]]
        mask = torch.ones(x.shape[axis], dtype=x.dtype, device=x.device)
        mask[gone] = 0
        return x * mask.view(-1, *(1,) * (x.ndim - 1 - axis))

    with _hooked(net, ties.sites, hide):
        yield


def evaluate(
    task: Shared[Searchable],
    net: Shared[nn.Module],
    ties: Shared[Ties],
    saving: Shared[Saving],
    step: FakePrune,
    candidate: Candidate[Ratios],
) -> Evaluation:
    """One candidate on its minibatch, unpruned and pruned."""
    whole, own, ratios = net.get().eval(), ties.get(), candidate.choice
    judge = task.get()
    batch = placed(judge.minibatch(candidate.minibatch, step.batch), whole)
    half = precision.half(step.precision)
    with torch.no_grad(), torch.autocast(batch[0].device.type, torch.bfloat16, enabled=half):
        with watched(whole, own) as sums:
            accuracy = judge.grade(whole, batch)
        plan = own.choose(sums, ratios, step.round_to)
        with masked(whole, own, plan):
            pruned = judge.grade(whole, batch)
    return Evaluation(accuracy, pruned, saving.get().ratio(plan))


class Groups:
    """A Space (compress/enas/search.py) of ratios."""

    fixed = True

    def __init__(
        self,
        task: Searchable,
        net: nn.Module,
        ties: Ties,
        saving: Saving,
        step: FakePrune,
        workers: Workers,
    ) -> None:
        self.minibatches = task.minibatches(step.batch)
        self.workers = workers
        self._one = partial(
            evaluate,
            workers.share(task),
            workers.share(net),
            workers.share(ties),
            workers.share(saving),
            step,
        )

    def train(self, epoch: int, draw: Callable[[int], Sequence[Ratios]]) -> None:
        """Nothing to train."""

    def evaluate(self, candidates: Sequence[Candidate[Ratios]]) -> list[Evaluation]:
        """Candidates in order."""
        return list(self.workers.map(self._one, candidates))

    def state_dict(self) -> dict[str, Any]:
        """Nothing changes."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing changes."""


@contextmanager
def _hooked(
    net: nn.Module, sites: Iterable[Site], change: Callable[[Site, Tensor, int], Tensor]
) -> Iterator[None]:
    modules = dict(net.named_modules())

    def hook(site: Site, layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return change(site, output, output.ndim - 1 if isinstance(layer, nn.Linear) else 1)

    handles = [modules[site.layer].register_forward_hook(partial(hook, site)) for site in sites]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _seen(group: Group) -> list[Member]:
    """Norms, and producers without one."""
    nodes = {item.dep.target.module: item.dep.target for item in group}

    def normed(member: Member) -> bool:
        return any(isinstance(after.module, NORMS) for after in nodes[member.layer].outputs)

    without = (member for member in members.producers(group) if not normed(member))
    return [*members.norms(group), *without]


def _entries(member: Member, cut: Cut) -> tuple[int, ...]:
    # a group of equal parts counts in positions (compress/patterns.py)
    return tuple((member.roots % cut.channels).tolist())
