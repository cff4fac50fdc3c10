"""Share weights: k-means codebooks, weighted on request, fine-tuned by summed gradients."""

from collections.abc import Mapping
from dataclasses import asdict

from pydantic import JsonValue, TypeAdapter
from torch import Tensor, autograd, nn

from compress import names
from compress.figures import Figure, Series
from compress.quantization import codebook
from compress.quantization.codebook import Coded
from compress.stages.base import Context, Outcome, same
from compress.stages.tuning import tune
from compress.statistics import Calibration
from compress.steps import Codebook
from compress.train import Epoch
from device.errors import FieldwrenError

Structure: TypeAdapter[JsonValue] = TypeAdapter(JsonValue)
EXAMPLES = 64  # whose gradients, one by one, tell what a weight matters

rebuild = same


def run(context: Context, net: nn.Module, step: Codebook) -> Outcome:
    """Cluster, fine-tune the entries, make equal what shares an entry.

    Raises:
        FieldwrenError: no layer becomes smaller.
    """
    shared, coded = codebook.code(
        net,
        importance(context, net, step.weighting),
        entries=step.entries,
        vector=step.vector,
        keep=step.keep,
        seed=context.seed,
    )
    if not coded:
        raise FieldwrenError(
            f"no layer that may change is smaller with a codebook of {step.entries} entries: "
            "take fewer, or keep fewer layers"
        )
    log: tuple[Epoch, ...] = ()
    if step.finetune is not None:
        log = tuple(tune(context, net, step.finetune, "codebook", companion=shared))
    shared.tie()
    plain, packed = codebook.stored(net, coded)
    print(f"codebook: {plain:,} bytes as float32, {packed:,} as indices and codebooks")
    layers = [{**asdict(layer), "bits": layer.bits} for layer in coded]
    structure = Structure.validate_python(
        {"float32_bytes": plain, "stored_bytes": packed, "layers": layers}
    )
    return Outcome(log=log, structure=structure, figures=(figure(coded),))


def importance(context: Context, net: nn.Module, weighting: str) -> Mapping[str, Tensor]:
    """h of every kernel and matrix; empty where all weights count alike."""
    if weighting == "none":
        return {}
    calibration = Calibration.of(context.task, net, context.seed)
    weights = {name: values for name, (_, values) in names.weights(net).items()}
    found = dict[str, Tensor]()
    for loss in calibration.losses(EXAMPLES):
        gradients = autograd.grad(loss, [*weights.values()], materialize_grads=True)
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
            product = gradient if weighting == "hessian" else gradient * weight.detach()
            value = product.square() if weighting == "hessian" else product.abs()
            found[name] = found[name] + value if name in found else value
    return found


def figure(coded: tuple[Coded, ...]) -> Figure:
    """Bits a weight takes and what clustering changed, layer by layer."""
    places = tuple(float(index) for index in range(len(coded)))
    return Figure(
        title="codebooks",
        x="layer, in the order of the network",
        y="bits a weight; 100 · RMS change / σ",
        kind="marks",
        series=(
            Series(name="bits a weight", x=places, y=tuple(c.bits / c.weights for c in coded)),
            Series(name="change before tuning, %", x=places, y=tuple(100 * c.error for c in coded)),
        ),
    )
