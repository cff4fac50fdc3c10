"""Sparsity finer than channels: which grains of a kernel go (masks.py), by which scores.

Zeros make a file smaller once it is zipped, and nothing faster: scripts/granularity_bench.py.
"""

from compress.granularity.grains import GRAINS

__all__ = ["GRAINS"]
