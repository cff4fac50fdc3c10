"""The language model: one table, two forms, dropout that holds along a stretch."""

import torch

from compress import count
from models.lstm_lm import LanguageModel, Step
from tests.compress.rnn import texts


def test_the_table_is_there_once() -> None:
    net = LanguageModel(100, 12, (16,))
    cells = 4 * 16 * (12 + 16 + 1) + 4 * 12 * (16 + 12 + 1)
    assert count.parameters(net) == 100 * 12 + 100 + cells


@torch.no_grad()
def test_one_word_at_a_time_equals_the_whole_text() -> None:
    net, words = texts.network(), texts.words(batch=1)
    expected, _ = net(words)
    step = Step(net)
    assert step.widths == {"h0": 16, "c0": 16, "h1": 12, "c1": 12}
    states = [torch.zeros(1, width) for width in step.widths.values()]
    for word, want in zip(words, expected, strict=True):
        logits, *states = step(word[None].float(), *states)
        assert (logits - want).abs().max() < 1e-5


@torch.no_grad()
def test_only_the_past_matters() -> None:
    net, words = texts.network(), texts.words()
    before, _ = net(words)
    words[5] = (words[5] + 1) % 15
    after, _ = net(words)
    assert torch.equal(before[:5], after[:5])
    assert not torch.equal(before[5], after[5])


@torch.no_grad()
def test_dropout_holds_along_a_stretch_and_drops_words_everywhere() -> None:
    net = LanguageModel(15, 12, (16,), input_drop=0.5, word_drop=0.5).train()
    torch.manual_seed(0)
    words = torch.full((6, 1), 3)
    dropped = net._locked(torch.ones(6, 2, 12), 0.5)
    assert torch.equal(dropped, dropped[:1].expand_as(dropped))
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    seen = {float((net._words(words) != 0).float().mean()) for _ in range(20)}
    assert seen == {0.0, 1.0}  # the word is there all along the stretch, or nowhere
