"""Stages that change a network, by the kind a recipe gives; each file is one."""

from compress.stages import baseline, cicr, finetune, infcp, prune, qat
from compress.stages.base import Context, Outcome, Stage

STAGES: dict[str, Stage] = {
    "baseline": baseline,
    "prune": prune,
    "infcp": infcp,
    "cicr": cicr,
    "finetune": finetune,
    "qat": qat,
}

__all__ = ["STAGES", "Context", "Outcome", "Stage"]
