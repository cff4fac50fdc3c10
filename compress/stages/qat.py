"""Train with the deployed numbers: fake quantization with a straight-through estimator (QAT)."""

from pydantic import TypeAdapter
from torch import Tensor, nn

from compress.granularity import masks
from compress.quantization import qat
from compress.quantization.learned import Ranges
from compress.quantization.simulate import Simulation
from compress.stages.base import Context, Outcome
from compress.stages.tuning import tune
from compress.steps import Distil, Qat, Quantize
from compress.store import Record
from device.errors import BadInputError

Structure = TypeAdapter(list[list[str]])


def run(context: Context, net: nn.Module, step: Qat) -> Outcome:
    """Train to the last epoch; scores on the way are those of the simulated int8 network.

    Raises:
        BadInputError: hints or attention look between a layer and the batch norm in it.
        FieldwrenError: the graph cannot be traced or is not the deployed one, or the loss is not
            finite.
    """
    net.eval()  # traced as deployed: drop-path has no part in it, whoever had the network before
    if step.scheme == "static-int8":
        deployed = context.task.deploy(net)
        numbers = Quantize(kind="quantize", scheme=step.scheme, samples=step.samples)
        simulation = qat.static(net, deployed, numbers, step.epochs * context.task.steps())
    else:
        simulation = qat.dynamic(net)
    _told_apart(step.distil, simulation)
    masks.arm(net)
    with simulation.active(net):
        log = tune(context, net, step, "qat")
    ranges = next((child for child in net.children() if isinstance(child, Ranges)), None)
    tensors = [] if ranges is None else [list(group) for group in ranges.tensors]
    return Outcome(log=tuple(log), structure=Structure.dump_python(tensors))


def _told_apart(distil: bool | Distil, simulation: Simulation) -> None:
    """That what a teacher looks at is there: a layer and the norm behind it are one in int8."""
    if not isinstance(distil, Distil):
        return
    joined = {*simulation.norms, *simulation.absorbed}
    for name in (*distil.hints, *distil.attention):
        if name in joined:
            raise BadInputError(
                f"distil: {name} puts nothing out in int8, where a layer and the batch norm behind "
                "it are one: name what follows both"
            )


def rebuild(net: nn.Module, example: Tensor, record: Record) -> None:
    """Give the network the child that holds the learned ranges."""
    tensors = Structure.validate_python(record.structure)
    if tensors:
        net.add_module(qat.NAME, Ranges(tensors))
