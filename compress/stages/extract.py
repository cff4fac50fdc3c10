"""Remove the channels that a searched child's ratios say, if removal computes what masking does."""

from itertools import islice

from torch import Tensor, nn

from compress.enas import extract
from compress.recalibration import recalibrate
from compress.stages.base import Context, Outcome
from compress.steps.extract import Extract
from compress.store import Record
from compress.task import Task
from device.errors import BadInputError
from models.enas import Enas
from models.enas.narrow import narrow


def check(task: Task, net: nn.Module, searched: bool) -> None:
    """Before anything is trained: that there is, or with a [search] will be, a child.

    Raises:
        BadInputError: the model is another.
    """
    if not isinstance(net, Enas) or (net.architecture is None and not searched):
        raise BadInputError(
            'extract needs a model of kind = "enas" with an architecture, or a [search]'
        )


def run(context: Context, net: nn.Module, step: Extract) -> Outcome:
    """Choose channels on calibration images, check, cut, recalibrate batch norm.

    Raises:
        BadInputError: the model is no searched child.
        FieldwrenError: the masked and the narrowed network differ.
    """
    check(context.task, net, searched=False)
    assert isinstance(net, Enas)
    batches = context.task.batches(0, context.seed)
    kept = extract.channels(net, batches, step.examples)
    error = extract.remove(net, kept, context.example)
    recalibrate(
        net,
        lambda net, batch: context.task.loss(net, batch, None),
        list(islice(context.task.batches(0, context.seed), step.batches)),
    )
    return Outcome(structure=extract.as_json(kept), mask_error=error)


def rebuild(net: nn.Module, example: Tensor, record: Record) -> None:
    """Narrow the child to the stored channel sets."""
    assert isinstance(net, Enas)
    narrow(net, extract.from_json(record.structure))
