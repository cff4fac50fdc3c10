"""ENAS micro search space: what is decided, its network, and its pruned form."""

from models.enas.architecture import INPUTS, OPERATIONS, Architecture, Edge, Node, Plan
from models.enas.cell import Fake, Place
from models.enas.network import Enas

__all__ = [
    "INPUTS",
    "OPERATIONS",
    "Architecture",
    "Edge",
    "Enas",
    "Fake",
    "Node",
    "Place",
    "Plan",
]
