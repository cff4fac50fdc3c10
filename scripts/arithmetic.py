"""What one core of a Raspberry Pi 4 would need for a frame, by arithmetic: nothing is measured.

    low   max(MACs / 4.5 G/s, bytes / 2 GB/s)                nodes at no cost
    high  max(MACs / .2 G/s, bytes / 1 GB/s) + nodes · 5 µs

Between the two lies what batch-one streaming networks are known to reach. 4.5 GMAC/s float32 is a
Cortex-A72 core at 1.5 GHz on large matrix products; .2 is twice what DTLN's authors measured on
the slower core of a Pi 3B+ (1 M multiply-accumulates and 4 MB of weights in 9.6 ms). Bytes are
the file's: weights are read once a frame, and only small ones stay in the second-level cache
(1 MB). A node costs a microsecond or two on a workstation. Integer weights
may do better than `low`. A real Pi replaces all of this: scripts/rtf.py there.
"""

from dataclasses import dataclass

CACHE = 1_000_000  # bytes: weights below stay where they are


@dataclass(frozen=True)
class Core:
    """What a core can do, at worst or at best."""

    macs: float  # a second
    bytes: float  # a second, from memory
    node: float  # seconds an operator

    def seconds(self, macs: int, size: int, nodes: int) -> float:
        """Of one frame."""
        streamed = size / self.bytes if size > CACHE else 0.0
        return max(macs / self.macs, streamed) + nodes * self.node


BEST, WORST = Core(4.5e9, 2e9, 0.0), Core(0.2e9, 1e9, 5e-6)


def pi4(macs: int, size: int, nodes: int, period: float) -> tuple[float, float]:
    """Real-time factors between which a Pi 4 core should lie.

    Args:
        macs: multiply-accumulates a frame.
        size: bytes of the model's file.
        nodes: its operators.
        period: seconds of real time a frame stands for.
    """
    return (
        BEST.seconds(macs, size, nodes) / period,
        WORST.seconds(macs, size, nodes) / period,
    )
