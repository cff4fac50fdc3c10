"""Sizes against torch's own layers and the source document's figures."""

import pytest
from torch import nn

from compress.rnn.adopt import adopt
from compress.rnn.counts import counts
from models.lstm_lm import LanguageModel


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_the_paper_counts_torchs_biases_and_the_recurrent_matrix_twice(
    kind: type[nn.LSTM] | type[nn.GRU], bias: bool
) -> None:
    rnn, out = kind(5, 8, bias=bias), nn.Linear(8, 3)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.out = rnn, out

    theirs = sum(p.numel() for p in (*rnn.parameters(), *out.parameters()))
    found = counts(adopt(Net()))
    assert found.paper == theirs + rnn.weight_hh_l0.numel()
    assert found.true == found.recurrent + 8 * 3 + 3


def test_awd_lstm_on_the_penn_treebank() -> None:
    assert counts(LanguageModel(10_000, 400, (1150, 1150)))[:2] == (24_210_800, 35_441_600)
