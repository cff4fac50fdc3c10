"""What the README tells people to type runs as it stands."""

import copy
import re
from pathlib import Path

import pytest
import torch

from compress import count
from models.resnet import ResNet

README = Path(__file__).parents[1] / "README.md"


def test_a_network_of_ones_own_is_pruned_in_ten_lines(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the lines save a file
    own, torch_pruning = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    torch.manual_seed(0)
    net = ResNet(8, 10).eval()
    batches = [(torch.randn(16, 3, 16, 16), torch.arange(16) % 10) for _ in range(3)]
    before = count.macs(net, batches[0][0][:1])
    names = {"net": copy.deepcopy(net), "batches": batches}
    exec(own, names)
    assert float(capsys.readouterr().out) < 1e-5
    assert 0.3 * before < count.macs(names["net"], batches[0][0][:1]) <= 0.5 * before
    names["net"] = net
    exec(torch_pruning, names)
    assert count.macs(net, batches[0][0][:1]) < 0.4 * before
    steps = own.split("\n\n")[1].strip().splitlines()
    assert len(steps) <= 10


def test_the_programs_that_a_pi_is_told_to_start_are_in_packages_it_was_told_to_install() -> None:
    text = README.read_text()
    (installed,) = re.findall(r"apt-get install (python3-venv .*)", text)
    assert "mosquitto_sub" in text and "mosquitto-clients" in installed.split()
