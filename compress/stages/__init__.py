"""Stages that change a network, by the kind a recipe gives; each file is one."""

from compress.stages import (
    baseline,
    cicr,
    codebook,
    compact,
    extract,
    fake_prune,
    finetune,
    infcp,
    lowrank,
    netadapt,
    prune,
    qat,
    resize,
    rnn_columns,
    rnn_gates,
    rnn_svd,
    rnn_units,
    search,
    slim,
    sparse,
)
from compress.stages.base import Context, Outcome, Stage

STAGES: dict[str, Stage] = {
    "enas": search,
    "baseline": baseline,
    "prune": prune,
    "slim": slim,
    "infcp": infcp,
    "cicr": cicr,
    "netadapt": netadapt,
    "fake-prune": fake_prune,
    "extract": extract,
    "lowrank": lowrank,
    "compact": compact,
    "sparse": sparse,
    "rnn-gates": rnn_gates,
    "rnn-columns": rnn_columns,
    "rnn-units": rnn_units,
    "rnn-svd": rnn_svd,
    "resize": resize,
    "finetune": finetune,
    "codebook": codebook,
    "qat": qat,
}

__all__ = ["STAGES", "Context", "Outcome", "Stage"]
