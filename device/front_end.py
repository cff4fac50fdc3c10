"""Whether a bundle is an enhancer whose every tensor fits what is done before and after it."""

from device.bundle import Model
from device.errors import BadInputError
from device.manifest import SpectrumInput


def of(model: Model) -> SpectrumInput:
    """The bundle's front end.

    Raises:
        BadInputError: no enhancer, windows that do not add up, or a tensor of another shape.
    """
    where, manifest = model.bundle.path, model.bundle.manifest
    front = manifest.preprocessing
    if manifest.task != "enhance" or not isinstance(front, SpectrumInput):
        raise BadInputError(f"{where}: not a speech enhancer: its task is {manifest.task}")
    if front.n_fft % (2 * front.hop):
        raise BadInputError(f"{where}: n_fft {front.n_fft} is not a multiple of 2·hop {front.hop}")
    bins = front.n_fft // 2 + 1
    shapes = {t.name: t.shape for t in (*manifest.inputs, *manifest.outputs)}
    expected: dict[str, tuple[int, ...]] = {
        "frame": (1, bins if front.feature == "compressed_magnitude" else 2 * bins),
        "mask": (1, bins if front.mask == "magnitude" else 2 * bins),
    }
    for state in manifest.states:
        if state.rings:
            expected[state.input] = (1, sum(r.width * len(r.delays) for r in state.rings))
            expected[state.output] = (1, sum(r.width for r in state.rings))
        else:
            expected[state.output] = shapes.get(state.input, ())
    for name, shape in expected.items():
        if shapes.get(name) != shape:
            raise BadInputError(
                f"{where}: tensor {name} is {shapes.get(name, 'missing')}, "
                f"its front end and states need {shape}"
            )
    return front
