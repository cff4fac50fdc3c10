"""Compact blocks in place of convolutions, by name; each file is one (base.py: Block)."""

from compress.compact import fire, ghost, inverted, shuffle
from compress.compact.base import Block

BLOCKS: dict[str, Block] = {
    "shuffle": shuffle,
    "fire": fire,
    "inverted": inverted,
    "ghost": ghost,
}
SIZES = {"shuffle": shuffle.SIZE, "fire": fire.SIZE, "inverted": inverted.SIZE, "ghost": ghost.SIZE}
