"""Factorise convolutions: channel, spatial, Tucker-2 or CP, where it saves something.

The figures show, layer by layer, what is left of the multiply-accumulates and what the kernel
lost. Grouped and depthwise convolutions are left alone, and so is every layer that would not get
smaller in multiply-accumulates and parameters both.
"""

from collections.abc import Iterable
from typing import cast

from pydantic import TypeAdapter
from torch import Tensor, nn

from compress import capture, lowrank, names
from compress.figures import Figure, Series
from compress.lowrank import base, choose
from compress.stages.base import Context, Outcome
from compress.steps import LowRank
from compress.store import Record
from device.errors import FieldwrenError
from device.manifest import Frozen


class Factorised(Frozen):
    """One convolution that was replaced."""

    layer: str
    form: str
    ranks: tuple[int, ...]
    error: float  # ‖W − Ŵ‖ / ‖W‖
    macs: tuple[int, int]  # before, after


STRUCTURE = TypeAdapter(tuple[Factorised, ...])


def run(context: Context, net: nn.Module, step: LowRank) -> Outcome:
    """Replace every convolution that gets cheaper by the small ones its ranks ask for.

    Raises:
        FieldwrenError: not a single one does, a layer cannot be timed, or the deployed form of the
            network takes its layers apart and does not know small convolutions.
    """
    form = lowrank.FORMS[step.form]
    able = [name for name in candidates(net, step.keep) if form.applies(_conv(net, name))]
    found = []
    for name, x in capture.inputs(net, able, lambda: net(context.example)).items():
        conv, x = _conv(net, name), x[:1]
        ranks = choose.ranks(form, conv, x, step)
        if ranks is None:
            continue
        made = base.factorised(form, conv, ranks)
        macs = base.cost(conv, x.shape)[0], base.cost(made, x.shape)[0]
        error = base.error(conv, made)
        names.replace(net, name, made)
        found.append(Factorised(layer=name, form=step.form, ranks=ranks, error=error, macs=macs))
        print(
            f"lowrank: {name}: {step.form} {'×'.join(map(str, ranks))}, "
            f"{macs[0] / 1e6:.2f} → {macs[1] / 1e6:.2f} M MACs, error {error:.3f}"
        )
    if not found:
        raise FieldwrenError(
            f"no convolution gets cheaper as {step.form} at these ranks: ask for less energy or "
            "a smaller share, round_to lower, or name another form"
        )
    _deployable(context, net)
    return Outcome(
        structure=STRUCTURE.dump_python(tuple(found), mode="json"), figures=(_figure(found),)
    )


def rebuild(net: nn.Module, example: Tensor, record: Record) -> None:
    """The small convolutions again, without their weights."""
    for one in STRUCTURE.validate_python(record.structure):
        made = base.hollow(lowrank.FORMS[one.form], _conv(net, one.layer), one.ranks)
        names.replace(net, one.layer, made)


def candidates(net: nn.Module, keep: Iterable[str]) -> list[str]:
    """Names of the convolutions that may be replaced, in order.

    Raises:
        BadInputError: keep names no layer.
    """
    kept = names.matching(keep, names.layers(net))
    return [
        name for name, layer in net.named_modules() if base.eligible(layer) and name not in kept
    ]


def _deployable(context: Context, net: nn.Module) -> None:
    try:
        context.task.deploy(net)
    except (AttributeError, TypeError, AssertionError) as error:
        raise FieldwrenError(
            "the deployed form of this network copies its convolutions one by one and cannot hold "
            "factorised ones: remove channels instead (prune)"
        ) from error


def _conv(net: nn.Module, name: str) -> base.Conv:
    return cast(base.Conv, net.get_submodule(name))


def _figure(found: list[Factorised]) -> Figure:
    index = tuple(float(number) for number in range(1, len(found) + 1))
    left = tuple(one.macs[1] / one.macs[0] for one in found)
    return Figure(
        title=f"low rank ({found[0].form}): what each factorised convolution keeps",
        x="convolution, in order",
        y="share",
        series=(
            Series(name="multiply-accumulates left", x=index, y=left),
            Series(name="error of the kernel", x=index, y=tuple(one.error for one in found)),
        ),
        kind="marks",
    )
