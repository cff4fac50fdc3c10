"""Networks as others write them, which pruning must take or refuse by name."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.compress.patterns import _relu


class Foreign(nn.Module):
    """Two convolutions a and b, a mean and a classifier h; what is special comes in between."""

    def __init__(self, inner: int = 16) -> None:
        super().__init__()
        self.a, self.b = _relu(3, 16, 3), _relu(inner, 16, 3)
        self.h = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.h(self.b(self.between(self.a(x))).mean((2, 3)))
        return logits

    def between(self, x: Tensor) -> Tensor:
        """What lies between the convolutions."""
        return x


class Tied(Foreign):
    """A third convolution has the second one's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.b, self.c = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.c.weight = self.b.weight

    def between(self, x: Tensor) -> Tensor:
        return F.relu(self.c(x))


class SharedLayer(Tied):
    """A layer that is called twice is one layer, whatever its names."""

    def __init__(self) -> None:
        super().__init__()
        self.c = self.b


class TiedAutoencoder(nn.Module):
    """The decoder is the encoder's weight, read the other way round."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(20, 16), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.relu(self.b(F.relu(self.a(x)))), self.a.weight.t())


class Halved(Foreign):
    """F.glu, which torch_pruning takes for an activation."""

    def __init__(self) -> None:
        super().__init__(8)

    def between(self, x: Tensor) -> Tensor:
        return F.glu(x, 1)


class Shuffled(Foreign):
    """Four channels become one of twice the height and width."""

    def __init__(self) -> None:
        super().__init__(4)

    def between(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(x, 2)


class Buffered(Foreign):
    """A constant for every channel."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("q", torch.linspace(0.5, 1.5, 16)[:, None, None])

    def between(self, x: Tensor) -> Tensor:
        return x * self.get_buffer("q")


class Indexed(Foreign):
    """Channels in another order."""

    def between(self, x: Tensor) -> Tensor:
        return x[:, torch.arange(15, -1, -1)]


class Attentive(Foreign):
    """A non-local block: every position looks at every other."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Conv2d(16, 8, 1), nn.Conv2d(16, 8, 1), nn.Conv2d(16, 16, 1)

    def between(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).flatten(2) for layer in (self.q, self.k, self.v))
        attention = (q.transpose(1, 2) @ k).softmax(-1)
        return x + (v @ attention.transpose(1, 2)).view(len(x), -1, *x.shape[2:])


class Columns(Foreign):
    """Time before channels, and a recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv1d(3, 16, 3), nn.GRU(16, 12, batch_first=True)
        self.h = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.b(F.relu(self.a(x.flatten(2))).transpose(1, 2))
        logits: Tensor = self.h(y.mean(1))
        return logits


class Regrouped(Foreign):
    """ShuffleNet's units: two branches or half the channels, then all change places."""

    def __init__(self) -> None:
        super().__init__()
        self.c, self.d, self.e = _relu(16, 8, 3), _relu(16, 8, 3), _relu(8, 8, 3)
        self.f = _relu(8, 8, 3)

    def between(self, x: Tensor) -> Tensor:
        x = _regroup(torch.cat((self.c(x), self.d(x)), 1))
        for layer in (self.e, self.f):
            left, right = x.chunk(2, 1)
            x = _regroup(torch.cat((left, layer(right)), 1))
        return x


def _regroup(x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2).contiguous()
    return x.view(batch, channels, height, width)


class Parametrized(Foreign):
    """Weights as direction times length."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.Conv2d(16, 16, 3)
        self.b = nn.Sequential(nn.utils.parametrizations.weight_norm(layer), nn.ReLU())


class OldWeightNorm(Foreign):
    """The same, as it was done before parametrizations."""

    def __init__(self) -> None:
        super().__init__()
        self.b = nn.Sequential(nn.utils.weight_norm(nn.Conv2d(16, 16, 3)), nn.ReLU())


class Auxiliary(Foreign):
    """An auxiliary head whose answer is put by and never used."""

    def __init__(self) -> None:
        super().__init__()
        self.aux = nn.Conv2d(16, 4, 1)
        self.history: list[Tensor] = []

    def between(self, x: Tensor) -> Tensor:
        self.last = self.aux(x)
        self.history.append(self.last)
        return x


class Detached(Auxiliary):
    """A gate through which no gradient flows."""

    def between(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.aux(x.detach()).mean(1, keepdim=True)).detach()


class Telling(Foreign):
    """A feature map beside the answer."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        y = self.a(x)
        return self.h(self.b(y).mean((2, 3))), y


class TwoInputs(Foreign):
    """Two images, one network."""

    def __init__(self) -> None:
        super().__init__()
        self.u = _relu(3, 16, 3)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        logits: Tensor = self.h(self.b(self.a(x) * self.u(y)).mean((2, 3)))
        return logits
