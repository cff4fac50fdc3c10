"""The search: child training and controller updates in turn, then the best of the samples.

    for every epoch:  train the child's weights, unpruned, one sampled path a minibatch    [F]
                      30 steps × 10 samples: evaluate on a validation minibatch each, update
    finalists:        the best rewards, evaluated on all whole minibatches of the split     [C]

The same loop serves cells with shared weights (micro.py) and the ratios of a fixed network
(groups.py), whose weights are trained already, and the random control, which learns nothing from
the same number of evaluations. Rewards count as long as the weights they were got with: those of
the last epoch, or, of a fixed network, all. A search is a function of its seed: it resumes after
any epoch with the numbers it would have had.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import nn

from compress import distributed, tensors
from compress.enas.controller import Samples
from compress.enas.reinforce import Reinforce
from compress.enas.reward import Evaluation, mean
from compress.figures import Figure, Series
from compress.steps.search import Rewards
from device.manifest import Frozen

Choice = TypeVar("Choice")


@dataclass(frozen=True)
class Candidate(Generic[Choice]):
    """What is evaluated: a choice, on one numbered validation minibatch."""

    choice: Choice
    minibatch: int


class Sampler(Protocol[Choice]):
    """What draws choices."""

    def sample(self, generator: torch.Generator, count: int) -> Samples[Choice]:
        """So many draws."""
        ...


class Space(Protocol[Choice]):
    """What is searched."""

    minibatches: int  # of the validation split
    fixed: bool  # nothing is trained: evaluations of all epochs can be compared

    def train(self, epoch: int, draw: Callable[[int], Sequence[Choice]]) -> float | None:
        """Train for one epoch on paths that `draw` gives; mean loss, if anything is trained."""
        ...

    def evaluate(self, candidates: Sequence[Candidate[Choice]]) -> list[Evaluation]:
        """Each candidate on its minibatch, in order; independent of each other."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What training changes."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Go on from a checkpoint."""
        ...


class Row(Frozen):
    """One controller step: means over its samples."""

    reward: float
    ratio: float
    accuracy: float
    pruned: float
    entropy: float

    @property
    def gap(self) -> float:
        """PruneAcc − TrainAcc."""
        return self.pruned - self.accuracy


@dataclass(frozen=True)
class Found(Generic[Choice]):
    """End of a search."""

    best: Choice
    evaluation: Evaluation  # of the best, on all whole minibatches of the split
    rows: tuple[Row, ...]
    losses: tuple[float | None, ...]  # of the child, by epoch
    evaluations: int  # of the search, the finalists' included
    before: float = field(compare=False)  # seconds that interrupted runs spent on it


def search(
    space: Space[Choice],
    sampler: Sampler[Choice],
    step: Rewards,
    *,
    epochs: int,
    seed: int,
    checkpoint: Path,
) -> Found[Choice]:
    """Search to the last epoch; `sampler` learns if it is a module.

    The state after each epoch is written to `checkpoint`; if it exists, the search goes on there.

    Raises:
        BadInputError: `checkpoint` is damaged.
    """
    generator = torch.Generator().manual_seed(seed)
    learner = Reinforce(sampler) if isinstance(sampler, nn.Module) else None
    rows: list[Row] = []
    losses: list[float | None] = []
    trials: list[tuple[Choice, float]] = []
    started, before = perf_counter(), 0.0
    if checkpoint.exists():
        with tensors.stored(checkpoint) as state:
            space.load_state_dict(state["space"])
            generator.set_state(state["generator"])
            if learner is not None and isinstance(sampler, nn.Module):
                sampler.load_state_dict(state["sampler"])
                learner.load_state_dict(state["learner"])
            rows = [Row(**row) for row in state["rows"]]
            losses = state["losses"]
            # checkpoints of older versions hold neither
            trials, before = state.get("trials", []), state.get("seconds", 0.0)
        print(f"search: resuming after epoch {len(losses)} of {epochs}")
    distributed.barrier()  # the first process may not write before all have read

    def draw(count: int) -> Sequence[Choice]:
        with torch.no_grad():
            return sampler.sample(generator, count).choices

    start = len(losses)
    for epoch in range(start, epochs):
        losses.append(space.train(epoch, draw))
        if not space.fixed:
            trials = []
        for _ in range(step.controller_steps):
            samples = sampler.sample(generator, step.samples)
            first = len(rows) * step.samples
            found = space.evaluate(
                [Candidate(choice, first + i) for i, choice in enumerate(samples.choices)]
            )
            rewards = [one.reward(step.alpha, step.beta) for one in found]
            if learner is not None:
                learner.update(samples, rewards)
            trials += zip(samples.choices, rewards, strict=True)
            rows.append(_row(samples, found, rewards))
        recent = rows[-step.controller_steps :]
        loss = "" if losses[-1] is None else f"loss {losses[-1]:.4f} "
        print(
            f"search: epoch {epoch + 1}/{epochs} {loss}"
            f"reward {_mean(row.reward for row in recent):.4f} "
            f"accuracy {_mean(row.accuracy for row in recent):.4f} "
            f"gap {_mean(row.gap for row in recent):.4f} "
            f"ratio {_mean(row.ratio for row in recent):.2f}"
        )
        if epoch + 1 < epochs and distributed.first():
            progress = {
                "rows": [row.model_dump() for row in rows],
                "losses": losses,
                "trials": trials if space.fixed else [],
                "seconds": before + perf_counter() - started,
            }
            _save(checkpoint, space, generator, sampler, learner, progress)
    finalists = _finalists(trials, step.finalists)
    every = space.evaluate(
        [Candidate(choice, n) for choice in finalists for n in range(space.minibatches)]
    )
    means = [
        mean(every[i : i + space.minibatches]) for i in range(0, len(every), space.minibatches)
    ]
    best = max(range(len(means)), key=lambda i: means[i].reward(step.alpha, step.beta))
    evaluations = len(rows) * step.samples + len(every)
    return Found(finalists[best], means[best], tuple(rows), tuple(losses), evaluations, before)


def figures(rows: Sequence[Row], samples: int, kind: str) -> tuple[Figure, ...]:
    """The search's curves, averaged over twentieths of its steps; the newest may be fewer."""
    size = max(1, len(rows) // 20)
    starts = range(0, len(rows), size)
    parts = [rows[start : start + size] for start in starts]
    x = tuple(float(min(start + size, len(rows)) * samples) for start in starts)

    def series(name: str) -> Series:
        return Series(
            name=name, x=x, y=tuple(_mean(getattr(row, name) for row in part) for part in parts)
        )

    def figure(title: str, y: str, *names: str) -> Figure:
        curves = tuple(series(name) for name in names)
        return Figure(title=f"{kind}: {title}", x="evaluations", y=y, series=curves)

    return (
        figure("reward", "α·Ratio·(1 + β·Gap) + TrainAcc", "reward"),
        figure("Ratio", "Ratio", "ratio"),
        figure("Gap", "PruneAcc − TrainAcc, fraction", "gap"),
        figure("accuracy of one minibatch", "fraction", "accuracy", "pruned"),
        figure("entropy of the controller", "nats a sample", "entropy"),
    )


def _row(samples: Samples[Any], found: Sequence[Evaluation], rewards: Sequence[float]) -> Row:
    return Row(
        reward=_mean(rewards),
        ratio=_mean(one.ratio for one in found),
        accuracy=_mean(one.accuracy for one in found),
        pruned=_mean(one.pruned for one in found),
        entropy=float(samples.entropy.detach().mean()),
    )


def _finalists(trials: Sequence[tuple[Choice, float]], count: int) -> list[Choice]:
    """Different choices with the largest rewards; the earlier one where they are equal."""
    found: list[Choice] = []
    for choice, _ in sorted(trials, key=lambda trial: -trial[1]):
        if choice not in found:
            found.append(choice)
        if len(found) == count:
            break
    return found


def _mean(values: Any) -> float:
    listed = list(values)
    return float(sum(listed) / len(listed))


def _save(
    checkpoint: Path,
    space: Space[Any],
    generator: torch.Generator,
    sampler: Sampler[Any],
    learner: Reinforce | None,
    progress: Mapping[str, Any],
) -> None:
    state = {
        "space": space.state_dict(),
        "generator": generator.get_state(),
        "sampler": sampler.state_dict() if isinstance(sampler, nn.Module) else None,
        "learner": learner.state_dict() if learner is not None else None,
        **progress,
    }
    tensors.save(checkpoint, state)
