"""What can be asked before hours of training: whether a recipe's steps fit its task and network."""

import copy

import torch
from torch import nn

from compress import advance, names
from compress.distillation import guided, sources, teachers
from compress.quantization import simulate
from compress.recipe import CHANNELS, Recipe
from compress.rnn.adopt import adopt, recurrent
from compress.stages import STAGES, cicr, compact, resize
from compress.statistics import part
from compress.steps import Cicr, Codebook, Compact, Distil, Qat, Sparse, Tuning
from compress.task import Foretold, Task
from device.errors import BadInputError, FieldwrenError

SAME_NAMES = {"baseline", "resize"} | CHANNELS - {"extract"}  # layers are called as before


def check(recipe: Recipe, task: Task, net: nn.Module) -> None:
    """Ask every step; what `keep` and `distil` name is asked for while layers are called as in
    `net`, a teacher's layers always: it is the baseline.

    Raises:
        FieldwrenError: a step does not fit the task or its fresh network; a teacher's file is not
            there, or does not fit the task's examples.
    """
    known = called = recipe.search is None  # what a search will find is not
    for step in advance.stages(recipe):
        resize.view(task, step)
        for path in sources.paths(step):
            teachers.look(path)
        kind = advance.kind(step)
        suits = getattr(STAGES[kind], "check", None)  # not every stage has one
        if suits is not None:
            suits(task, net, searched=recipe.search is not None)
        if isinstance(step, Cicr) and isinstance(task, Foretold):
            _limits(step, task)
        if known:
            _kinds(step, kind, net)
            _lessons(step, kind, task, net, called)
        if called:
            _layers(step, kind, net)
        same = isinstance(step, Tuning | Qat | Sparse | Codebook) or kind in SAME_NAMES
        called &= same and not kind.startswith("rnn-")  # what is adopted has other names


def _limits(step: Cicr, task: Foretold) -> None:
    """That the task has the scores that have a limit; what its data cannot give, such as PESQ of
    sounds without an utterance, only the stage finds out."""
    try:
        cicr.check_names(step.limits, task.score_names())
    except BadInputError as error:
        raise BadInputError(f"cicr: {error}") from error


def _kinds(step: advance.Stage, kind: str, net: nn.Module) -> None:
    """That the network is of a kind that the step is for: no step makes another of it."""
    try:
        if kind.startswith("rnn-"):
            recurrent(adopt(copy.deepcopy(net)))
        if isinstance(step, Qat):
            simulate.trace(copy.deepcopy(net).eval())
    except FieldwrenError as error:
        raise BadInputError(f"{kind}: {error}") from error


def _lessons(step: advance.Stage, kind: str, task: Task, net: nn.Module, called: bool) -> None:
    """That the layers that a step's training compares are there and can be compared, and that
    what a file teaches can be learned: of two examples.
    """
    for training in (step, getattr(step, "finetune", None)):
        table = training.distil if isinstance(training, Tuning) else False
        if not isinstance(table, Distil):
            continue
        foreign = table.teacher != sources.BASELINE
        if not (foreign or table.hints or table.attention):
            continue
        table = table.model_copy(update={"cache": None})  # nothing is written yet
        if not called:  # the student's names are not known, and the teacher stands in for it
            table = table.model_copy(
                update={
                    "hints": {other: other for other in table.hints.values()},
                    "attention": {other: other for other in table.attention.values()},
                }
            )
        try:
            with guided(table, net, task, net, task.example()) as guide:
                if foreign:
                    _taught(net, task, guide.teacher)
        except FieldwrenError as error:
            raise BadInputError(f"{kind}: {error}") from error


def _taught(net: nn.Module, task: Task, teacher: nn.Module | None) -> None:
    """One loss, of which nothing stays."""
    batch = part(next(iter(task.batches(0, 0))), 0, 2)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        task.loss(copy.deepcopy(net).eval(), batch, teacher)


def _layers(step: advance.Stage, kind: str, net: nn.Module) -> None:
    """That the layers that a step is to keep, or to replace, are there."""
    found = dict(net.named_modules())
    if kind.startswith("rnn-"):
        found |= dict(adopt(copy.deepcopy(net)).named_modules())
    names.matching(getattr(step, "keep", ()), found)
    if isinstance(step, Compact):
        compact.named(net, step.layers)
