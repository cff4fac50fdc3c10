"""The language task: stretches follow each other, the state is carried, scores by hand."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from compress import count, store, train
from compress.distillation import logits as logits_loss
from compress.steps import Schedule
from compress.tasks import language
from compress.tasks.language import Language
from compress.train import Epoch
from device.errors import BadInputError
from models.lstm_lm import LanguageModel
from tests.compress.rnn import texts


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Language:
    return texts.task(tmp_path_factory.mktemp("text"))


def _net(task: Language, seed: int = 0) -> LanguageModel:
    torch.manual_seed(seed)
    net = task.build()
    assert isinstance(net, LanguageModel)
    return net


def test_a_batch_goes_on_where_the_last_one_ended(task: Language) -> None:
    batches = list(task.batches(3, 0))
    assert len(batches) == task.steps()
    text = task._text("train")
    length = len(text) // 4
    begins = [bool(begin.all()) for _, _, begin in batches]
    assert begins == [True] + [False] * (len(batches) - 1)
    for stream in range(4):
        read = torch.cat([tokens[stream] for tokens, _, _ in batches])
        wanted = torch.cat([targets[stream] for _, targets, _ in batches])
        assert torch.equal(read[1:], wanted[:-1])
        own = text[stream * length : (stream + 1) * length]
        offset = next(o for o in range(10) if torch.equal(own[o : o + len(read)], read))
        assert 0 <= offset < 10
    again = list(task.batches(3, 0))
    assert all(torch.equal(a, b) for a, b in zip(batches[5], again[5], strict=True))
    others = {tuple(next(task.batches(epoch, 0))[0][0].tolist()) for epoch in range(8)}
    assert len(others) > 1  # epochs start at different offsets


def test_the_state_is_carried_and_forgotten_at_the_beginning(task: Language) -> None:
    net = _net(task).train()
    first, second = list(task.batches(0, 0))[:2]
    with torch.no_grad():
        start = task.loss(net, first, None)
        carried = task.loss(net, second, None)
        assert float(task.loss(net, first, None)) == pytest.approx(float(start), rel=1e-6)
        tokens = torch.cat((first[0], second[0]), 1)
        logits, _ = net(tokens.T)
        expected = F.cross_entropy(logits[10:].transpose(0, 1).flatten(0, 1), second[1].flatten())
    assert float(carried) == pytest.approx(float(expected), rel=1e-5)


def test_two_networks_are_in_the_text_apart(task: Language) -> None:
    net, teacher = _net(task).train(), _net(task, 1).train()
    first, second = list(task.batches(0, 0))[:2]
    with torch.no_grad():
        task.loss(net, first, None)
        alone = task.loss(net, second, None)
        task.loss(net, first, teacher)
        both = task.loss(net, second, teacher)
    assert both != alone
    with torch.no_grad():
        task.loss(net, first, teacher)
        assert float(task.loss(net, second, None)) == pytest.approx(float(alone), rel=1e-6)


def test_perplexity_is_e_to_the_mean_loss(task: Language) -> None:
    net = _net(task)
    for parameter in net.parameters():
        torch.nn.init.zeros_(parameter)
    scores = task.evaluate(net, "validation").scores
    words = len(task._corpus.words)
    assert scores["ppl"] == pytest.approx(words, rel=1e-5)  # every word has the same chance
    assert scores["bits"] == pytest.approx(math.log2(words), rel=1e-5)
    assert scores["score"] == -scores["ppl"]


def test_a_smaller_network_meets_its_size(task: Language) -> None:
    whole = count.parameters(_net(task))
    small = task.smaller(whole // 2)
    assert isinstance(small, LanguageModel)
    assert 0.35 * whole < count.parameters(small) <= whole // 2
    task.evaluate(small, "validation")


def test_any_folder_with_the_three_files(tmp_path: Path) -> None:
    made = language.make(texts.settings(), (texts.write(tmp_path / "text").parent,), 0)
    assert made.data().fingerprint == texts.task(tmp_path / "own").data().fingerprint
    with pytest.raises(BadInputError, match="no text in"):
        language.make(texts.settings(), (tmp_path / "nowhere",), 0)


@pytest.mark.parametrize(
    ("part", "tokens", "reason"),
    [
        # a line end is a token too: 4 streams of two stretches of 10 tokens and one
        ("train", 82, r"train\.txt has 20 tokens for each of 4 streams, .*: give 21 or more"),
        ("train", 0, r"train\.txt has 0 tokens for each of 4 streams"),
        ("valid", 30, r"valid\.txt has 31 tokens, too few to score on: give 32 or more"),
        ("test", 0, r"test\.txt has 0 tokens, too few"),
    ],
)
def test_too_little_text_is_refused_before_training(
    tmp_path: Path, part: str, tokens: int, reason: str
) -> None:
    folder = texts.write(tmp_path)
    (folder / f"toy.{part}.txt").write_text("bird " * tokens)
    with pytest.raises(BadInputError, match=reason):
        language.make(texts.settings(), (folder,), 0)


def test_the_least_text_is_one_step_and_a_score(tmp_path: Path) -> None:
    for part, tokens in (("train", 83), ("valid", 31), ("test", 31)):
        (tmp_path / f"toy.{part}.txt").write_text(
            "a bird sees " * (tokens // 3) + "a " * (tokens % 3)
        )
    task = language.make(texts.settings(), (tmp_path,), 0)
    assert task.steps() == 1
    assert all(len(next(task.batches(epoch, 0))[0][0]) == 10 for epoch in range(20))
    assert math.isfinite(task.evaluate(_net(task), "validation").value)


def test_a_training_that_diverged_has_a_score(tmp_path: Path) -> None:
    """A record with it can be read again, so that its stage is finished all the same."""
    for loss in (1e4, math.nan):
        quality = language._quality(loss)
        assert quality.scores["ppl"] == math.inf or math.isnan(loss)
        log = (Epoch(1, 0.1, 3.0, dict(quality.scores), 1.0),)
        record = store.Record(
            key="k", kind="baseline", seconds=1, macs=1, parameters=1, primary="score", log=log,
            validation=dict(quality.scores),
        )  # fmt: skip
        again = store.Record.model_validate_json(record.model_dump_json())
        for scores in (again.validation, again.log[0].scores):
            assert str(scores) == str(dict(quality.scores))
    assert math.isfinite(language._quality(709.0).scores["ppl"])


def test_probabilities_are_softened_as_logits_are(task: Language) -> None:
    """The gradient is that of (1 − λ)·CE + λ·T²·KL."""
    net, teacher = _net(task).eval(), _net(task, 1).eval()
    tokens, targets, _ = batch = next(task.batches(0, 0))

    def gradient(loss: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(loss, net.table.x.parts[0].factors[0])[0]

    for T in (1.0, 3.0):
        settings = texts.settings().model_copy(
            update={"loss": language.Loss(teacher=0.7, temperature=T)}
        )
        logits, wanted = (n(tokens.T)[0].transpose(0, 1).flatten(0, 1) for n in (net, teacher))
        soft = logits_loss.divergence(logits / T, wanted.detach() / T).mean()
        by_hand = 0.3 * F.cross_entropy(logits, targets.flatten()) + 0.7 * T * T * soft
        loss = Language(settings, task._corpus).loss(net, batch, teacher)
        torch.testing.assert_close(gradient(loss), gradient(by_hand), rtol=1e-4, atol=1e-7)


def test_views_of_a_text_are_refused_in_one_line(task: Language, tmp_path: Path) -> None:
    schedule = Schedule(epochs=2, lr=0.01, precision="32-true")
    with pytest.raises(BadInputError, match="views: the teacher answers with more than one tensor"):
        train.fit(
            task, _net(task), schedule, seed=0, checkpoint=tmp_path / "c.pt", label="finetune",
            teacher=_net(task, 1), views=1,
        )  # fmt: skip
