"""Files of the speech networks run by name, from anywhere."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from compress import count, proof
from models import fullsubnet, fullsubnet_fast, tcn_hybrid
from models.masks import MaskNet

MODELS = Path(__file__).parents[2] / "models"
REPORTING = sorted(path for path in MODELS.glob("*.py") if "__main__" in path.read_text())
IMPORT = """
import runpy, sys
first, *others = sys.path
for path in sys.argv[2:]:
    sys.path[:] = [sys.argv[1], *others]  # as `python path` has it
    for name in [name for name in sys.modules if name.split(".")[0] == "models"]:
        del sys.modules[name]
    assert callable(runpy.run_path(path)["_main"])
"""


def _run(folder: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_files_find_what_they_import(tmp_path: Path) -> None:
    """All in one process: loading torch is what takes time."""
    assert len(REPORTING) >= 6
    _run(tmp_path, "-c", IMPORT, str(MODELS), *map(str, REPORTING))


def test_dtln_tells_its_cost_and_that_it_is_causal(tmp_path: Path) -> None:
    text = _run(tmp_path, str(MODELS / "dtln.py"))
    assert "DTLN: 986,753 parameters" in text
    assert "before it (0)" in text


@pytest.mark.parametrize("module", [fullsubnet, fullsubnet_fast, tcn_hybrid])
def test_a_network_that_is_not_the_published_one_fails(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def counted(name: str, net: MaskNet, inputs: int) -> tuple[int, int]:
        stream = net.eval().stream()
        return count.parameters(net), count.macs(stream, torch.rand(1, inputs), *stream.start())

    def one_more(name: str, net: MaskNet, inputs: int) -> tuple[int, int]:
        parameters, macs = counted(name, net, inputs)
        return parameters + 1, macs

    monkeypatch.setattr(proof, "prove", counted)
    module._main()
    monkeypatch.setattr(proof, "prove", one_more)
    with pytest.raises(SystemExit, match=r"parameters.*, not "):
        module._main()
