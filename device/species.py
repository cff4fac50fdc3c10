"""From a model's label to the names people use."""

import csv
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("species.csv")


def species(label: str) -> tuple[str, str]:
    """Common and scientific name: `Blue_Jay` → ("Blue Jay", "Cyanocitta cristata").

    A label that is not in species.csv keeps its words; its scientific name is empty.
    """
    return _table().get(label) or (label.replace("_", " "), "")


@cache
def _table() -> dict[str, tuple[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as rows:
        return {row["label"]: (row["common"], row["scientific"]) for row in csv.DictReader(rows)}
