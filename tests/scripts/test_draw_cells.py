"""The drawing of a searched architecture."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from device.errors import BadInputError
from scripts.draw_cells import drawing, main
from tests.compress.enas import children


def test_every_edge_is_named_with_its_ratio(tmp_path: Path) -> None:
    architecture = children.drawn(0, 3, (0.0, 0.4))
    path = tmp_path / "architecture.json"
    path.write_text(architecture.model_dump_json())
    main(path, tmp_path / "cells.svg")
    text = (tmp_path / "cells.svg").read_text()
    assert text == drawing(architecture)
    edges = [edge for plan in architecture.plans for _, _, edge in plan.edges]
    for operation in {edge.operation for edge in edges}:
        pruned = [edge for edge in edges if edge.operation == operation and edge.ratio]
        assert text.count(f">{operation} −40%<") == len(pruned)
    assert "normal cell" in text
    assert "reduction cell" in text


def test_what_is_no_architecture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(BadInputError, match=r"other\.json: not an architecture: normal: Field req"):
        main(tmp_path / "other.json", tmp_path / "cells.svg")
    with pytest.raises(BadInputError, match=r"none\.json: No such file"):
        main(tmp_path / "none.json", tmp_path / "cells.svg")


def test_what_is_wrong_with_an_architecture_is_said(tmp_path: Path) -> None:
    table = children.drawn(0, 3, (0.0, 0.4)).model_dump(mode="json")
    table["reduction"]["nodes"][0]["left"]["input"] = 4
    (tmp_path / "later.json").write_text(json.dumps(table))
    with pytest.raises(
        BadInputError,
        match=r"later\.json: not an architecture: reduction: node 0 reads a state that comes after",
    ):
        main(tmp_path / "later.json", tmp_path / "cells.svg")


def test_a_folder_is_no_place_to_draw_to(tmp_path: Path) -> None:
    path = tmp_path / "architecture.json"
    path.write_text(children.drawn(0, 3, (0.0, 0.4)).model_dump_json())
    done = subprocess.run(
        [sys.executable, "scripts/draw_cells.py", path, tmp_path],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stderr) == (2, f"error: {tmp_path}: Is a directory\n")
