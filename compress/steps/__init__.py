"""The tables of a recipe's steps, by kind; each file is one.

A step that changes the network has a stage of the same kind (compress/stages); resize changes what
it sees; quantize, always last, is about the deployed file.
"""

from typing import Annotated

from pydantic import Field

from compress.steps.base import Budget, Distil, Schedule, Tuning
from compress.steps.cicr import Cicr
from compress.steps.codebook import Codebook
from compress.steps.compact import Compact
from compress.steps.extract import Extract
from compress.steps.fake_prune import FakePrune
from compress.steps.finetune import Finetune
from compress.steps.infcp import InfCp
from compress.steps.lowrank import LowRank
from compress.steps.netadapt import NetAdapt
from compress.steps.prune import Prune
from compress.steps.qat import Qat
from compress.steps.quantize import Quantize
from compress.steps.resize import Resize
from compress.steps.rnn_columns import RnnColumns
from compress.steps.rnn_gates import RnnGates
from compress.steps.rnn_svd import RnnSvd
from compress.steps.rnn_units import RnnUnits
from compress.steps.search import Search
from compress.steps.slim import Slim
from compress.steps.sparse import Sparse

Recurrent = RnnGates | RnnColumns | RnnSvd | RnnUnits
Change = (
    Prune
    | InfCp
    | Cicr
    | NetAdapt
    | FakePrune
    | Extract
    | Finetune
    | Slim
    | LowRank
    | Compact
    | Sparse
    | Codebook
    | Qat
    | Recurrent
)
Step = Annotated[Change | Resize | Quantize, Field(discriminator="kind")]

__all__ = [
    "Budget",
    "Change",
    "Cicr",
    "Codebook",
    "Compact",
    "Distil",
    "Extract",
    "FakePrune",
    "Finetune",
    "InfCp",
    "LowRank",
    "NetAdapt",
    "Prune",
    "Qat",
    "Quantize",
    "Resize",
    "RnnColumns",
    "RnnGates",
    "RnnSvd",
    "RnnUnits",
    "Schedule",
    "Search",
    "Slim",
    "Sparse",
    "Step",
    "Tuning",
]
