"""Independent evaluations, in this process or on a Ray cluster: an ordered map, the same results.

    function, items  →  function(item) for every item  →  results in the order of `items`

Candidates of a search, probes of a bisection and runs of several seeds are the items. A function
depends on its item and on what is bound to it (functools.partial) alone; it changes neither, and
draws random numbers from seeds it is given or from torch's generator, which starts every call
from the same state and comes back to the caller as it was. Then every executor yields the same.
"""

from compress.workers.base import Shared, Workers
from compress.workers.local import InProcess

__all__ = ["InProcess", "Shared", "Workers"]
