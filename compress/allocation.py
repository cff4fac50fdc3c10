"""From scores to a channel plan: a policy shares out a budget among the groups, in some unit.

    score groups → policy(problem) → remove from a copy → measure → over the budget? a little less

Budgets that count (channels, multiply-accumulates, parameters) are met by what the policy
predicts. Those that are measured (bytes, milliseconds) are predicted, measured on the pruned copy
and, if that is over, planned again for as much less as it was too much.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from torch import nn

from compress import names, prune
from compress.costs import COSTS, Subject
from compress.figures import Figure
from compress.importance import distribution
from compress.masked_loss import MaskedLoss
from compress.passes import Example
from compress.policies import POLICIES, Problem
from compress.prune import Cut, Plan, Scored
from compress.refused import together
from compress.statistics import Calibration
from compress.steps import Prune
from compress.task import Deployed
from device.errors import FieldwrenError
from device.manifest import Frozen

ATTEMPTS = 4  # plans whose pruned network is measured
CLOSER = 0.995  # of what is left of the budget, per attempt
NOTICEABLE = 0.1  # of the ratio asked for
Deploy = Callable[[nn.Module], Deployed]


class Spent(Frozen):
    """What a plan was to cost, and what it does."""

    key: str
    whole: float
    allowed: float
    predicted: float
    measured: float


@dataclass(frozen=True)
class Decision:
    """A plan, its cost, and the curves behind it."""

    plan: Plan
    spent: Spent
    figures: tuple[Figure, ...]


def make_plan(
    net: nn.Module,
    example: Example,
    head: Sequence[nn.Module],
    step: Prune,
    seed: int,
    calibration: Calibration | None = None,
) -> Plan:
    """The plan of `decide`, for budgets that need no exported file, and proof that it can be cut.

    Raises:
        FieldwrenError: as `decide`, or the masked and the pruned network differ.
    """
    plan = decide(net, example, head, step, seed, calibration).plan
    prune.proven(net, example, plan)
    return plan


def decide(
    net: nn.Module,
    example: Example,
    head: Sequence[nn.Module],
    step: Prune,
    seed: int,
    calibration: Calibration | None = None,
    deploy: Deploy | None = None,
    noise: Calibration | None = None,
) -> Decision:
    """What a step asks for. Where there is `noise`, criteria are measured on that, losses never.

    `head` and the step's `keep` stay whole.

    Raises:
        BadInputError: a pattern of `keep` names no layer.
        FieldwrenError: nothing can be pruned, the budget is out of reach within `max_ratio`, or
            the network has no exported form that could be measured.
    """
    modules = dict(net.named_modules())
    kept = names.matching(step.keep, modules)
    whole = [*prune.layers(head), *(layer for name, layer in modules.items() if name in kept)]
    groups = tuple(
        prune.score_groups(net, example, whole, step.criterion, seed, noise or calibration)
    )
    if not groups:
        raise FieldwrenError("nothing to prune: no layer's channels are free to go")
    with _explained(net, example, [group.sample() for group in groups if len(group.scores) > 1]):
        return _shared_out(net, example, groups, step, calibration, deploy or _none)


def _shared_out(
    net: nn.Module,
    example: Example,
    groups: tuple[Scored, ...],
    step: Prune,
    calibration: Calibration | None,
    deploy: Deploy,
) -> Decision:
    """The first of a few plans whose pruned network is within the budget."""
    key, value = step.target
    cost = COSTS[key](Subject(net, example, prune.untouched(groups), deploy))
    whole = cost.predicted(prune.untouched(groups))
    allowed = {"ratio": 1 - value, "macs": value, "parameters": value}.get(key)
    budget = value if allowed is None else allowed * whole
    if whole <= budget:
        tell_met(key, whole, budget)
    problem = Problem(
        groups=groups,
        max_ratio=step.max_ratio,
        round_to=step.round_to,
        key=key,
        ratio=step.ratio,
        budget=budget,
        cost=cost.predicted,
        loss=MaskedLoss(net, example, calibration),
    )
    for _ in range(ATTEMPTS):
        found = POLICIES[step.scope](problem)
        with _explained(net, example, found.plan.cuts):
            pruned = prune.remove(prune.copied(net), example, found.plan)
            measured = cost.measured(found.plan, pruned)
        if step.ratio is not None or measured <= budget:
            predicted = cost.predicted(found.plan)
            spent = Spent(
                key=key, whole=whole, allowed=budget, predicted=predicted, measured=measured
            )
            if step.ratio is not None:
                tell(step, 1 - measured / whole)
            return Decision(found.plan, spent, (*found.figures, distribution(groups)))
        problem = replace(problem, budget=CLOSER * problem.budget * budget / measured)
    noisy = ", or try again on a machine with nothing else to do" if key == "milliseconds" else ""
    raise FieldwrenError(
        f"{key}: the pruned network costs {measured:,.5g} where {budget:,.5g} are asked for, also "
        f"after {ATTEMPTS} plans: ask for more{noisy}"
    )


def tell(step: Prune, reached: float) -> None:
    """Say so where rounding and bounds took clearly more or less than the ratio asked for."""
    assert step.ratio is not None
    if abs(reached - step.ratio) > NOTICEABLE * step.ratio:
        print(
            f"ratio {step.ratio:g} is asked for, {reached:.2g} of the channels go: groups keep "
            f"multiples of round_to = {step.round_to} and lose at most max_ratio = "
            f"{step.max_ratio:g}"
        )


def tell_met(key: str, whole: float, budget: float) -> None:
    """Say so where a network is within its budget as it is: nothing goes then."""
    costs, allowed = (f"{v:,.0f}" if v >= 1000 else f"{v:.5g}" for v in (whole, budget))
    print(f"{key}: the network costs {costs} as it is, {allowed} are allowed: no channel goes")


@contextmanager
def _explained(net: nn.Module, example: Example, cuts: Iterable[Cut]) -> Iterator[None]:
    """Inside, an error of torch's is one of ours if one of some cuts alone is at fault."""
    try:
        yield
    except prune.BROKEN as broken:
        if refusals := prune.refusals(net, example, cuts):
            raise together(refusals) from broken
        raise


def _none(net: nn.Module) -> Deployed:
    raise FieldwrenError("bytes and milliseconds are of an exported file: here there is none")
