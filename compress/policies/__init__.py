"""How much each group loses, by the name a recipe gives as `scope`; each file is one."""

from compress.policies import global_ranking, per_cost, sensitivity, uniform
from compress.policies.base import Allocation, Policy, Problem

POLICIES: dict[str, Policy] = {
    "uniform": uniform.allocate,
    "global": global_ranking.allocate,
    "per-cost": per_cost.allocate,
    "sensitivity": sensitivity.allocate,
}

__all__ = ["POLICIES", "Allocation", "Policy", "Problem"]
