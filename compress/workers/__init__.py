"""Independent evaluations, in this process or on a Ray cluster: an ordered map, the same results.

    function, items  →  function(item) for every item  →  results in the order of `items`

Candidates of a search, probes of a bisection and runs of several seeds are the items. A function
depends on its item and on what is bound to it (functools.partial) alone; it changes neither, and
draws random numbers from seeds it is given or from torch's generator, which starts every call
from the same state and comes back to the caller as it was. Then every executor yields the same.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compress.workers import environment
from compress.workers.base import Shared, Workers
from compress.workers.local import HERE, InProcess

__all__ = ["HERE", "InProcess", "Shared", "Workers", "start"]


@contextmanager
def start(
    address: str | None, folder: Path, *, cpus: int | None = None, store: int | None = None
) -> Iterator[Workers]:
    """In this process without an address; else on Ray: HOST:PORT, "auto" or "local".

    `folder`, where tasks store results, is made, and every machine of the cluster must see it.
    `cpus` and `store`, bytes of shared memory, limit a local cluster; by default it takes what
    the machine has.

    Raises:
        BadInputError: the cluster cannot be used as it is.
        FieldwrenError: a local cluster does not start.
    """
    if address is None:
        yield InProcess()
        return
    environment.prepare(address)
    from compress.workers import cluster  # takes seconds, and Ray is an extra

    pool = cluster.connect(address, cpus, store)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pool.check(folder)
        yield pool
    finally:
        cluster.disconnect()
