"""A pruned network comes back from its file, and everything else is refused in one line."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from compress import allocation, count, prune, pruned
from compress.steps import Prune
from device.errors import BadInputError
from models.resnet import ResNet
from tests.compress import real


def _net(seed: int, width: int = 16) -> ResNet:
    torch.manual_seed(seed)
    return ResNet(8, 10, width).eval()


@pytest.fixture
def saved(tmp_path: Path) -> tuple[nn.Module, Path]:
    net, photos = _net(0), real.photos(32)
    step = Prune(kind="prune", criterion="l1", ratio=0.5)
    plan = allocation.make_plan(net, photos, [net.classifier], step, 0)
    prune.remove(net, photos, plan)
    net.train()(photos)  # norms go on learning: what is saved is what there is now
    pruned.save(net.eval(), plan, tmp_path / "new" / "small.safetensors")
    return net, tmp_path / "new" / "small.safetensors"


def test_a_saved_network_comes_back_into_a_fresh_one(saved: tuple[nn.Module, Path]) -> None:
    net, path = saved
    fresh, photos = _net(1), real.photos(32)
    assert count.parameters(net) < 0.4 * count.parameters(fresh)
    assert pruned.load(fresh, photos[:1], path) is fresh
    with torch.no_grad():
        assert torch.equal(fresh(photos), net(photos))


def test_a_plan_for_another_network_is_refused(saved: tuple[nn.Module, Path]) -> None:
    with pytest.raises(
        BadInputError, match=r"small\.safetensors: .* another network: .* has 32 .* here, 64 "
    ):
        pruned.load(_net(1, width=8), real.photos(32), saved[1])
    with pytest.raises(
        BadInputError, match=r"small\.safetensors: .* another network: no layer .* here$"
    ):
        pruned.load(nn.Sequential(nn.Conv2d(3, 16, 3)), real.photos(32), saved[1])


def test_weights_that_do_not_fit_are_refused(saved: tuple[nn.Module, Path]) -> None:
    net = _net(1)
    net.classifier = nn.Linear(64, 5)
    with pytest.raises(
        BadInputError, match=r"small\.safetensors: its weights do not fit.*classifier\.bias"
    ):
        pruned.load(net, real.photos(32), saved[1])


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", (8).to_bytes(8, "little") + b"{", None, {"plan": '{"cuts": 1}'}],
    ids=["empty", "text", "cut off", "no plan", "another plan"],
)
def test_a_file_that_is_none_is_refused(
    content: bytes | dict[str, str] | None, tmp_path: Path
) -> None:
    path = tmp_path / "small.safetensors"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        save_file({"a": torch.zeros(1)}, path, content)
    with pytest.raises(BadInputError, match=r"small\.safetensors: (no channel plan|not there)"):
        pruned.load(_net(0), real.photos(32), path)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"small\.safetensors: not there"):
        pruned.load(_net(0), real.photos(32), tmp_path / "small.safetensors")


class Versioned(nn.Module):
    """Reads its state by the version that it had when it was saved, and may hold more than that."""

    _version = 2

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.b(self.a(x).relu())
        return y

    def _load_from_state_dict(
        self, state: dict[str, Any], prefix: str, told: dict[str, Any], *rest: Any
    ) -> None:
        if told.get("version") != 2:
            raise ValueError("version should be 2")
        super()._load_from_state_dict(state, prefix, told, *rest)


class Counting(Versioned):
    """More than tensors."""

    def get_extra_state(self) -> dict[str, int]:
        return {"seen": 1}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Nothing is needed."""


def _cut(net: Versioned) -> prune.Plan:
    plan = prune.Plan(cuts=(prune.Cut(layer="a", channels=16, removed=(3,), members=()),))
    prune.remove(net, real.photos(16), plan)
    return plan


def test_layers_are_told_the_version_of_their_state(tmp_path: Path) -> None:
    net = Versioned().eval()
    pruned.save(net, _cut(net), tmp_path / "small.safetensors")
    fresh = pruned.load(Versioned().eval(), real.photos(16), tmp_path / "small.safetensors")
    with torch.no_grad():
        assert torch.equal(fresh(real.photos(16)), net(real.photos(16)))


def test_state_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    net = Counting().eval()
    with pytest.raises(BadInputError, match=r"small\.safetensors: _extra_state is no tensor"):
        pruned.save(net, _cut(net), tmp_path / "small.safetensors")
