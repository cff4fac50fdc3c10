"""How many operators a .tflite file runs: for small networks, as telling as multiplications."""

from pathlib import Path

from ai_edge_litert import schema_py_generated as schema


def nodes(model: Path) -> int:
    """Operators of all subgraphs."""
    graphs = schema.ModelT.InitFromPackedBuf(model.read_bytes(), 0).subgraphs
    return sum(len(graph.operators) for graph in graphs)
