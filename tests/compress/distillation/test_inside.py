"""Hints and attention: formulas by hand, gradients that reach the student, hooks that go away."""

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from compress.distillation import guided
from compress.distillation.attention import Attention, attention
from compress.distillation.hints import Hints
from compress.steps import Distil
from device.errors import BadInputError, FieldwrenError
from models.projections import Map, Table
from models.recurrent import Recurrent
from models.resnet import ResNet
from tests.compress import shapes

PAIRS = {"blocks.1": "blocks.1", "blocks.2": "blocks.2"}


def _pair() -> tuple[nn.Module, nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    return ResNet(8, 3, 8), ResNet(8, 3, 16).eval(), torch.randn(2, 3, 16, 16)


def _inside(net: nn.Module, name: str, x: torch.Tensor) -> torch.Tensor:
    """A layer's output without hooks: the network is cut behind it."""
    assert isinstance(net, ResNet)
    y = net.stem(x)
    for index, block in enumerate(net.blocks):
        y = block(y)
        if name == f"blocks.{index}":
            break
    return y


def test_hints_by_hand_and_learned() -> None:
    student, teacher, x = _pair()
    hints = Hints(student, teacher, PAIRS, weight=2.0, lr=1e-2, example=x[:1])
    with torch.no_grad():
        teacher(x)
    student(x)
    loss = hints.loss()
    expected = 0.0
    for regressor, (own, other) in zip(hints.regressors, PAIRS.items(), strict=True):
        s, t = _inside(student, own, x), _inside(teacher, other, x)
        expected += 2.0 * float((regressor(s) - t).detach().square().mean())
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    loss.backward()
    assert student.get_submodule("stem.conv").weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in teacher.parameters())
    before = copy.deepcopy(hints.state_dict())
    hints.step()
    assert not torch.equal(hints.regressors[0].weight, before["regressors.0.weight"])
    first = float(loss)
    for _ in range(30):
        student(x)
        hints.loss().backward()
        hints.step()
    student(x)
    assert float(hints.loss()) < 0.9 * first  # regressors alone come nearer
    other = Hints(student, teacher, PAIRS, weight=2.0, lr=1e-2, example=x[:1])
    other.load_state_dict(hints.state_dict())
    torch.testing.assert_close(other.regressors[1].weight, hints.regressors[1].weight)
    assert other.optimizer.state_dict()["state"][0]["step"] == 31


def test_hints_start_alike_whatever_was_drawn_before() -> None:
    """A resumed run takes up finished stages and has drawn less than an uninterrupted one."""
    student, teacher, x = _pair()
    made = []
    for drawn in (0, 7):
        torch.manual_seed(5)
        torch.rand(drawn)
        state = torch.get_rng_state()
        made.append(Hints(student, teacher, PAIRS, weight=1, lr=1e-2, example=x[:1]))
        assert torch.equal(torch.get_rng_state(), state)
    one, other = (list(hints.regressors.parameters()) for hints in made)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(one[0], one[2])  # each its own


def test_attention_by_hand() -> None:
    student, teacher, x = _pair()
    method = Attention(student, teacher, {"blocks.0": "blocks.1"}, weight=10.0, example=x[:1])
    with torch.no_grad():
        teacher(x)
    student(x)
    loss = method.loss()
    loss.backward()
    assert student.get_submodule("stem.conv").weight.grad.abs().sum() > 0
    s = _inside(student, "blocks.0", x)
    t = F.avg_pool2d(_inside(teacher, "blocks.1", x), 1)  # half the size of the student's
    t = F.adaptive_avg_pool2d(t, s.shape[2:])
    expected = 0.0
    for one, other in zip(s.detach(), t.detach(), strict=True):
        maps = [(a**2).sum(0).flatten() for a in (one, other)]
        q = [m / m.square().sum().sqrt() for m in maps]
        expected += float((q[0] - q[1]).square().mean()) / len(x)
    assert float(loss) == pytest.approx(10 * expected, rel=1e-4)


def test_attention_knows_places_not_channels() -> None:
    maps = torch.randn(2, 6, 4, 4)
    torch.testing.assert_close(attention(maps), attention(3 * maps[:, [5, 3, 1, 0, 2, 4]]))


def test_scoring_leaves_no_trace_and_hooks_go(tmp_path: Path) -> None:
    shapes.make_folder(tmp_path / "shapes")
    task = shapes.make_task(tmp_path, shapes.write_recipe(tmp_path / "shapes.toml"))
    student, teacher, x = _pair()
    table = Distil(hints=PAIRS, attention={"blocks.0": "blocks.0"})
    with guided(table, student, task, teacher, x[:1]) as guide:
        assert guide.teacher is teacher and guide.companion is not None
        with torch.no_grad():
            student(x)
        with pytest.raises(FieldwrenError, match=r"blocks\.1 is not called"):
            guide.companion.loss()
        student(x)
        with torch.no_grad():
            teacher(x)
        assert float(guide.companion.loss()) > 0
    assert not any(module._forward_hooks for net in (student, teacher) for module in net.modules())
    with guided(True, student, task, teacher, x[:1]) as guide:
        assert guide.teacher is teacher and guide.companion is None
    with guided(False, student, task, teacher, x[:1]) as guide:
        assert guide.teacher is None


def test_a_layer_that_is_not_there_is_named() -> None:
    student, teacher, x = _pair()
    with pytest.raises(BadInputError, match=r"ResNet has no layer 'blocks\.9'; it has stem"):
        Hints(student, teacher, {"blocks.9": "blocks.1"}, weight=1, lr=1, example=x[:1])


class _Two(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x


class _Memory(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.memory, self.classifier = nn.LSTM(16, 8), nn.Linear(8, 3)
        self.two = _Two()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.classifier(self.memory(self.two(x.mean(1))[0])[0].mean(1))
        return answer


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ({"two": "stem"}, "_Memory's layer two does not put out one tensor"),
        ({"memory": "stem"}, "memory puts out 3 axes, the teacher's stem 4"),
        ({"classifier": "stem"}, "classifier puts out 2 axes, the teacher's stem 4"),
    ],
)
def test_layers_that_cannot_be_compared_are_refused_at_once(
    pairs: dict[str, str], reason: str
) -> None:
    _, teacher, x = _pair()
    student = _Memory()
    with pytest.raises(BadInputError, match=reason):
        Hints(student, teacher, pairs, weight=1, lr=1, example=x[:1])
    with pytest.raises(BadInputError, match=reason):
        Attention(student, teacher, pairs, weight=1, example=x[:1])
    assert not any(module._forward_hooks for net in (student, teacher) for module in net.modules())


def test_attention_needs_positions() -> None:
    student, teacher, x = _pair()
    with pytest.raises(BadInputError, match="classifier puts out no maps"):
        Attention(student, teacher, {"classifier": "classifier"}, weight=1, example=x[:1])
    own, other = _vectors(4), _vectors(6)
    for name in own.layers:  # an axis of vectors is one of examples: sums over it mean nothing
        with pytest.raises(BadInputError, match=f"{name} puts out no maps"):
            Attention(own, other, {name: name}, weight=1, example=torch.randint(9, (5, 2)))


class _Vectors(nn.Module):
    """Layers of vectors [time, batch, features] in every form."""

    layers = ("table", "map", "linear", "torchs", "ours")

    def __init__(self, width: int) -> None:
        super().__init__()
        self.table, self.map = Table(9, width), Map(width, width)
        self.linear, self.torchs = nn.Linear(width, width), nn.LSTM(width, width)
        self.ours = Recurrent("gru", width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        vectors = self.linear(self.map(self.table(tokens)))
        answer: torch.Tensor = self.ours(self.torchs(vectors)[0])[0]
        return answer


def _vectors(width: int) -> _Vectors:
    torch.manual_seed(width)
    return _Vectors(width)


@pytest.mark.parametrize("name", _Vectors.layers)
def test_hints_take_the_features_of_vectors_for_channels(name: str) -> None:
    student, teacher = _vectors(4), _vectors(6)
    example, tokens = torch.randint(9, (5, 1)), torch.randint(9, (7, 3))  # other sizes in training
    hints = Hints(student, teacher, {name: name}, weight=1.0, lr=1e-2, example=example)
    (regressor,) = hints.regressors
    assert isinstance(regressor, nn.Conv1d)
    assert (regressor.in_channels, regressor.out_channels) == (4, 6)
    seen: list[torch.Tensor] = []
    for net in (student, teacher):
        net.get_submodule(name).register_forward_hook(
            lambda _layer, _inputs, out: seen.append(out[0] if isinstance(out, tuple) else out)
        )
        net(tokens)
    s, t = seen
    by_hand = F.linear(s, regressor.weight[..., 0], regressor.bias)  # of every vector by itself
    expected = float((by_hand - t).detach().square().mean())
    assert float(hints.loss().detach()) == pytest.approx(expected, rel=1e-5)
