"""Was the machine busy with something else while times were taken?"""

from time import perf_counter, process_time

BUSY = 0.05  # share of others from which on times are no measurement


class Attention:
    """How much of the time between two moments the processor gave to others.

    Interleaving does not help against it: a run of 50 ms loses a slice of it nearly always, one of
    .5 ms nearly never.
    """

    def __init__(self) -> None:
        self._wall, self._own = perf_counter(), process_time()

    def others(self) -> float:
        """Share since then, 0…1, in which this process did not run (its threads count together)."""
        wall, own = perf_counter() - self._wall, process_time() - self._own
        return round(max(0.0, 1 - own / wall), 3)


def warning(others: float) -> str | None:
    """What is to be said of a measurement during which others ran."""
    if others < BUSY:
        return None
    return (
        f"  not a measurement: for {100 * others:.0f} % of the time the processor did other work; "
        "measure again when nothing else runs"
    )
