"""What a pruning budget can count, by its key in a recipe; each file is one."""

from collections.abc import Callable

from compress.costs.base import Cost, Subject
from compress.costs.bytes import Bytes
from compress.costs.channels import Channels
from compress.costs.macs import Macs
from compress.costs.milliseconds import Milliseconds
from compress.costs.parameters import Parameters

COSTS: dict[str, Callable[[Subject], Cost]] = {
    "ratio": Channels,
    "macs": Macs,
    "parameters": Parameters,
    "bytes": Bytes,
    "milliseconds": Milliseconds,
}

__all__ = ["COSTS", "Cost", "Subject"]
