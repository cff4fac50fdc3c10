"""What a search decides: two cells, each node two edges, each edge an operation and its ratio.

    state 0, 1     the cell's inputs: outputs of the layer before the previous one, and of that
                   one, calibrated to the cell's channels
    state 2 + i    node i = left edge + right edge
    edge           (state it reads, operation, ratio)
    ratio          share of a feature map's channels that is pruned: of edges and of inputs
    loose states   those no edge reads: joined at the cell's end

H. Pham et al., "Efficient Neural Architecture Search via Parameter Sharing", ICML 2018, micro
search space; the ratio is J. Zhao et al., "Fake Pruning with AutoML for Model Compression".
As JSON it is what a search publishes and what another recipe's [model] loads.
"""

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from device.manifest import Frozen

Operation = Literal["sep3", "sep5", "avg", "max", "identity"]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)
SEPARABLE: dict[Operation, int] = {"sep3": 3, "sep5": 5}  # kernel
Ratio = Annotated[float, Field(ge=0, lt=1)]
INPUTS = 2  # states a cell starts with
SIDES = ("left", "right")


class Edge(Frozen):
    """One operand of a node."""

    input: int = Field(ge=0, description="state it reads")
    operation: Operation
    ratio: Ratio = 0.0


class Node(Frozen):
    """The sum of two edges."""

    left: Edge
    right: Edge

    @property
    def edges(self) -> tuple[Edge, Edge]:
        """In the order of SIDES."""
        return self.left, self.right


class Plan(Frozen):
    """One cell."""

    nodes: tuple[Node, ...] = Field(min_length=1)
    ratios: tuple[Ratio, Ratio] = (0.0, 0.0)  # of the two inputs

    @model_validator(mode="after")
    def _earlier_states(self) -> Self:
        for index, node in enumerate(self.nodes):
            if any(edge.input >= INPUTS + index for edge in node.edges):
                raise ValueError(f"node {index} reads a state that comes after it")
        return self

    @property
    def edges(self) -> list[tuple[int, str, Edge]]:
        """(node, side, edge) of every edge."""
        return [
            (index, side, edge)
            for index, node in enumerate(self.nodes)
            for side, edge in zip(SIDES, node.edges, strict=True)
        ]

    @property
    def loose(self) -> tuple[int, ...]:
        """States that no edge reads; an input that is not used is one of them."""
        read = {edge.input for node in self.nodes for edge in node.edges}
        return tuple(state for state in range(INPUTS + len(self.nodes)) if state not in read)


class Architecture(Frozen):
    """Normal and reduction cell."""

    normal: Plan
    reduction: Plan

    @model_validator(mode="after")
    def _same_size(self) -> Self:
        if len(self.normal.nodes) != len(self.reduction.nodes):
            raise ValueError("both cells need the same number of nodes")
        return self

    @property
    def plans(self) -> tuple[Plan, Plan]:
        """Normal, reduction: indexed by whether a layer is a reduction."""
        return self.normal, self.reduction

    @property
    def ratios(self) -> tuple[float, ...]:
        """Of the normal cell's inputs and edges, then of the reduction cell's."""
        return tuple(
            ratio
            for plan in self.plans
            for ratio in (*plan.ratios, *(edge.ratio for _, _, edge in plan.edges))
        )

    def with_ratios(self, ratios: tuple[float, ...]) -> "Architecture":
        """The same cells with other ratios, in the order of `ratios`."""
        values = iter(ratios)

        def changed(plan: Plan) -> Plan:
            inputs = next(values), next(values)
            nodes = []
            for node in plan.nodes:
                left = node.left.model_copy(update={"ratio": next(values)})
                right = node.right.model_copy(update={"ratio": next(values)})
                nodes.append(Node(left=left, right=right))
            return Plan(nodes=tuple(nodes), ratios=inputs)

        return Architecture(normal=changed(self.normal), reduction=changed(self.reduction))

    def unpruned(self) -> "Architecture":
        """The same cells with every ratio zero."""
        return self.with_ratios((0.0,) * len(self.ratios))
