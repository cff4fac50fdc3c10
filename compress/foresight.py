"""What can be asked before hours of training: whether a recipe's steps fit its task and network."""

import copy

from torch import nn

from compress import advance, names
from compress.distillation import sources, teachers
from compress.recipe import CHANNELS, Recipe
from compress.rnn.adopt import adopt, recurrent
from compress.stages import STAGES, resize
from compress.steps import Codebook, Qat, Sparse, Tuning
from compress.task import Task

SAME_NAMES = {"baseline", "resize"} | CHANNELS - {"extract"}  # layers are called as before


def check(recipe: Recipe, task: Task, net: nn.Module) -> None:
    """Ask every step; what `keep` names is asked for while layers are called as in `net`.

    Raises:
        FieldwrenError: a step does not fit the task or its fresh network; a teacher's file is not
            there.
    """
    called = recipe.search is None
    for step in advance.stages(recipe):
        resize.view(task, step)
        for path in sources.paths(step):
            teachers.look(path)
        kind = advance.kind(step)
        suits = getattr(STAGES[kind], "check", None)  # not every stage has one
        if suits is not None:
            suits(task, net, searched=recipe.search is not None)
        if called:
            _layers(step, kind, net)
        same = isinstance(step, Tuning | Qat | Sparse | Codebook) or kind in SAME_NAMES
        called &= same and not kind.startswith("rnn-")  # what is adopted has other names


def _layers(step: advance.Stage, kind: str, net: nn.Module) -> None:
    """That the layers that a step is for, or is to keep, are there."""
    found = dict(net.named_modules())
    if kind.startswith("rnn-"):
        adopted = adopt(copy.deepcopy(net))
        found |= dict(adopted.named_modules())
        if kind != "rnn-svd":  # linear layers are factorised, too
            recurrent(adopted)
    names.matching(getattr(step, "keep", ()), found)
