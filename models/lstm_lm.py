"""Word- or character-level language model: LSTM layers between the two faces of one tied table.

After AWD-LSTM (Merity et al. 2018, arXiv:1708.02182): weights of W_h are dropped (DropConnect),
one dropout mask serves a whole stretch of text (variational dropout), whole words are dropped from
the embedding, and the table that embeds words also scores them, so the last layer is as wide as
the embedding.

    x_t = table[w_t]      y_t = LSTM_n(… LSTM_1(x_t))      p(w_{t+1}) = softmax(table · y_t + b)

`LanguageModel` takes stretches [time, batch] and carries the state from one to the next; `Step`
is the deployed form: one word in, scores and every state out.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from models.projections import Table
from models.recurrent import Recurrent, State


class LanguageModel(nn.Module):
    """Training form.

    Args:
        words: size of the vocabulary.
        size: length of a word's vector, and units of the last layer.
        units: of the layers before it.
        weight_drop: of W_h's weights.
        word_drop: of words, each everywhere in a stretch.
        input_drop, hidden_drop, output_drop: of the vectors' entries, all along a stretch.
    """

    def __init__(
        self,
        words: int,
        size: int,
        units: Sequence[int],
        *,
        weight_drop: float = 0.0,
        word_drop: float = 0.0,
        input_drop: float = 0.0,
        hidden_drop: float = 0.0,
        output_drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.word_drop, self.input_drop = word_drop, input_drop
        self.hidden_drop, self.output_drop = hidden_drop, output_drop
        self.table = Table(words, size)
        widths = [size, *units, size]
        self.layers = nn.ModuleList(
            Recurrent("lstm", inputs, outputs, weight_drop) for inputs, outputs in pairwise(widths)
        )

    def forward(
        self, tokens: Tensor, states: Sequence[State] | None = None
    ) -> tuple[Tensor, tuple[State, ...]]:
        """int64 [time, batch] → logits [time, batch, words] and the last states."""
        x = self._locked(self._words(tokens), self.input_drop)
        ends: list[State] = []
        for index, layer in enumerate(self.layers):
            x, end = layer(x, None if states is None else states[index])
            last = index == len(self.layers) - 1
            x = self._locked(x, self.output_drop if last else self.hidden_drop)
            ends.append(end)
        return self.table.scores(x), tuple(ends)

    def _words(self, tokens: Tensor) -> Tensor:
        vectors: Tensor = self.table(tokens)
        if not self.training or not self.word_drop:
            return vectors
        stays = torch.rand(self.table.words, device=tokens.device) >= self.word_drop
        return vectors * (stays / (1 - self.word_drop))[tokens][..., None]

    def _locked(self, x: Tensor, share: float) -> Tensor:
        if not self.training or not share:
            return x
        stays = torch.rand(1, *x.shape[1:], device=x.device) >= share
        return x * (stays / (1 - share))


class Step(nn.Module):
    """Deployed form: one word."""

    def __init__(self, net: LanguageModel) -> None:
        super().__init__()
        self.table = net.table
        self.layers = net.layers

    @property
    def widths(self) -> dict[str, int]:
        """Every state's name and length, in order."""
        layers = [layer for layer in self.layers if isinstance(layer, Recurrent)]
        return {f"{part}{i}": layer.units for i, layer in enumerate(layers) for part in "hc"}

    def forward(self, word: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """word [1, 1], its number as a float, and h, c of every layer [1, units].

        Returns logits [1, words] and the new states in the same order.
        """
        x = self.table(word[:, 0].long())
        ends: list[Tensor] = []
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, Recurrent)
            h, c = layer.step(x, (states[2 * index], states[2 * index + 1]))
            ends += [h, c]
            x = h
        return (self.table.scores(x), *ends)
