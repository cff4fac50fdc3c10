"""What a mask network's file prints when it runs alone: its cost, and that it may be streamed.

One that may not is refused.

parameters, MAC per frame      of the deployed form
causal                         another future changes no mask that was given before it
stream − offline               both forms over the same frames
nodes, bytes, latency          after conversion, through the runtime a device uses
"""

import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from compress import count, export
from compress.nodes import nodes
from device.errors import FieldwrenError
from device.runtime import Runtime
from models.masks import MaskNet, stream_whole

FRAMES, CHANGED = 100, 60
RUNS = 50
EQUAL = 1e-5  # largest |stream − offline|


def prove(name: str, net: MaskNet, inputs: int) -> tuple[int, int]:
    """Print the figures of a network as it is; random features [1, inputs, time] are its input.

    Returns:
        Parameters, and multiply-accumulates a frame.
    Raises:
        FieldwrenError: the network hears the future, or its stream computes something else.
    """
    net.eval()
    stream = net.stream()
    example = (torch.rand(1, inputs), *stream.start())
    macs = count.macs(stream, *example)
    parameters = count.parameters(net)
    print(f"{name}: {parameters:,} parameters, {macs:,} MAC/frame")
    print(f"  looks {net.lookahead} frames ahead; {len(stream.states)} state tensors")
    x = torch.rand(1, inputs, FRAMES)
    past, future, difference = _differences(net, x)
    first = CHANGED - net.lookahead
    if past != 0:
        raise FieldwrenError(
            f"{name} is not causal: another future from frame {CHANGED} on changes masks before "
            f"frame {first} by {past:.1g}"
        )
    if not difference <= EQUAL:
        raise FieldwrenError(
            f"{name}: its stream differs from its offline form by {difference:.1g}, "
            f"allowed {EQUAL:.1g}"
        )
    print(f"  causal: another future from frame {CHANGED} on changes no mask before frame")
    print(f"    {first} ({past:.1g}), but that one ({future:.1g})")
    print(f"  stream − offline over {FRAMES} frames: {difference:.1g}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.tflite"
        export.write(stream, example, path)
        runtime = Runtime(path)
        runtime.feed({f"args_{index}": value.numpy() for index, value in enumerate(example)})
        times = []
        for _ in range(RUNS):
            started = perf_counter()
            runtime.invoke()
            times.append(1e3 * (perf_counter() - started))
        print(f"  TFLite: {nodes(path)} nodes, {path.stat().st_size / 1e3:,.0f} kB")
        print(
            f"  latency {np.median(times):.3f} ms a frame (median), {min(times):.3f} at best, "
            f"{runtime.description}"
        )
    return parameters, macs


@torch.no_grad()
def _differences(net: MaskNet, x: torch.Tensor) -> tuple[float, float, float]:
    """Change of masks given before the future changed, of the first one after, and of the stream
    from the offline form."""
    before = net(x)
    other = x.clone()
    other[..., CHANGED:] = torch.rand_like(x[..., CHANGED:])
    change = (net(other) - before).abs().amax((0, 1))
    first = CHANGED - net.lookahead
    streamed = stream_whole(net.stream(), x, net.lookahead)
    past, future = float(change[:first].max()), float(change[first])
    return past, future, float((streamed - before).abs().max())
