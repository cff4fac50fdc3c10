"""Predict the next word: text in PTB-like files, a tied LSTM language model, perplexity.

Training is truncated back-propagation through time: the text lies in parallel streams, a batch is
the next stretch of all of them, and the state of the last stretch is where the next begins.
Every epoch starts at another offset, so its cuts fall elsewhere.
"""

import math
import sys
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from compress.task import Batch, Deployed, OneStep, Quality
from compress.tasks import locate
from compress.text import PARTS, Corpus, Kind, streams
from device.errors import BadInputError, FieldwrenError
from device.manifest import Data, Frozen
from device.runtime import Runtime
from models.lstm_lm import LanguageModel, Step
from models.recurrent import State

SCORED_STREAMS = 16  # of validation and test: their few last tokens that do not fill a row are left
SCORED_STRETCH = 128  # tokens of one pass; the state is carried, so it changes no score
EXAMPLE = 35  # tokens
SCORES = ("score", "ppl", "loss", "bits")
LARGEST = math.log(sys.float_info.max)  # loss of the largest perplexity that is a number
FORM = "a folder with one *.train.txt, *.valid.txt and *.test.txt"


class Text(Frozen):
    """[data]: the folder below the data folders; a data folder that is one wins."""

    folder: str
    tokens: Kind
    vocabulary: int = Field(gt=2, description="most frequent tokens, <unk> among them")
    description: str
    licence: str


class Network(Frozen):
    """LSTM language model whose last layer shares its matrix with the words' vectors."""

    size: int = Field(gt=0, description="of a word's vector, and units of the last layer")
    units: tuple[PositiveInt, ...] = Field((), description="of the layers before it")
    weight_drop: float = Field(0.0, ge=0, lt=1)
    word_drop: float = Field(0.0, ge=0, lt=1)
    input_drop: float = Field(0.0, ge=0, lt=1)
    hidden_drop: float = Field(0.0, ge=0, lt=1)
    output_drop: float = Field(0.0, ge=0, lt=1)


class Batches(Frozen):
    """[batches]."""

    streams: int = Field(20, gt=0)
    stretch: int = Field(70, gt=1, description="tokens between two cuts of the gradient")


class Loss(Frozen):
    """[loss]."""

    teacher: float = Field(0.5, ge=0, le=1, description="weight of the teacher's probabilities")
    temperature: float = Field(1.0, gt=0, description="softens the teacher's probabilities")


class Settings(Frozen):
    """The tables this task adds to a recipe."""

    data: Text
    model: Network
    batches: Batches = Batches()
    loss: Loss = Loss()


def make(settings: Frozen, folders: tuple[Path, ...], seed: int) -> "Language":
    """The task on text found in `folders`.

    Raises:
        BadInputError: no text, or too little to learn from or to score on.
    """
    assert isinstance(settings, Settings)
    own = folders[0]
    folder = own if any(own.glob("*.train.txt")) else locate(settings.data.folder, folders, FORM)
    made = Language(settings, Corpus(folder, settings.data.tokens, settings.data.vocabulary))
    made.check()
    return made


class Language:
    """The task of compress/task.py. Scores of a text:

    loss   mean cross-entropy of a token, nats        ppl  e^loss
    bits   loss / ln 2, of a token: BPC where tokens are characters
    score  −ppl, the primary one: more is better
    """

    kind = "predict"

    def __init__(self, settings: Settings, corpus: Corpus) -> None:
        self._settings, self._corpus = settings, corpus
        # where each network being trained is in the text
        self._carried: WeakKeyDictionary[nn.Module, tuple[State, ...]] = WeakKeyDictionary()

    def check(self) -> None:
        """An epoch has a step, and each score a token to predict.

        Raises:
            BadInputError: a text is too short for that.
        """
        folder, table = self._corpus.folder, self._settings.batches
        if self.steps() < 1:
            raise BadInputError(
                f"{folder}: *.{PARTS['train']}.txt has {len(self._streams)} tokens for each of "
                f"{table.streams} streams, too few for one step: give {2 * table.stretch + 1} or "
                "more, or lower batches.streams or batches.stretch"
            )
        for split in ("validation", "test"):
            found, least = len(self._text(split)), 2 * SCORED_STREAMS
            if found < least:
                raise BadInputError(
                    f"{folder}: *.{PARTS[split]}.txt has {found} tokens, too few to score on: give "
                    f"{least} or more"
                )

    def data(self) -> Data:
        """Description, licence and fingerprint of the training and the validation text."""
        table = self._settings.data
        return Data(
            description=table.description,
            licence=table.licence,
            # stages hold scores of the validation text
            fingerprint=self._corpus.fingerprint("train", "validation"),
        )

    def build(self) -> nn.Module:
        """The uncompressed network."""
        return LanguageModel(len(self._corpus.words), **self._settings.model.model_dump())

    def smaller(self, parameters: int) -> nn.Module:
        """A fresh network of the same proportions and no more parameters: the control.

        Raises:
            FieldwrenError: even vectors of one value are too large.
        """
        table, words = self._settings.model, len(self._corpus.words)
        for size in range(table.size, 0, -1):
            units = [max(1, width * size // table.size) for width in table.units]
            scaled: dict[str, Any] = {**table.model_dump(), "size": size, "units": units}
            with torch.device("meta"):  # to be counted only
                net = LanguageModel(words, **scaled)
            if sum(parameter.numel() for parameter in net.parameters()) <= parameters:
                return LanguageModel(words, **scaled)
        raise FieldwrenError(f"no network of this vocabulary has only {parameters:,} parameters")

    def example(self) -> Tensor:
        """The first tokens of the validation text [time, 1]."""
        return self._text("validation")[:EXAMPLE, None]

    def head(self, net: nn.Module) -> list[nn.Module]:
        """The table."""
        assert isinstance(net, LanguageModel)
        return [net.table]

    def steps(self) -> int:
        """Stretches of an epoch."""
        return (len(self._streams) - 1) // self._settings.batches.stretch - 1

    def batches(self, epoch: int, seed: int) -> Iterator[Batch]:
        """(tokens, next tokens) [stream, time], and whether the text begins there [stream]."""
        stretch = self._settings.batches.stretch
        random = torch.Generator().manual_seed(1_000_003 * seed + epoch)
        offset = int(torch.randint(stretch, (), generator=random))
        for index in range(self.steps()):
            start = offset + index * stretch
            part = self._streams[start : start + stretch + 1]
            begins = torch.full((part.shape[1],), index == 0)
            yield part[:-1].T.contiguous(), part[1:].T.contiguous(), begins

    def loss(self, net: nn.Module, batch: Batch, teacher: nn.Module | None) -> Tensor:
        """Cross-entropy, with a teacher partly against its probabilities.

        That part is T²·CE of both softened (compress/distillation/logits.py), whose gradient is
        that of T²·KL.
        """
        tokens, targets, begins = batch
        logits = self._read(net, tokens, bool(begins[0]))
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        if teacher is None:
            return loss
        share, T = self._settings.loss.teacher, self._settings.loss.temperature
        with torch.no_grad():
            wanted = (self._read(teacher, tokens, bool(begins[0])) / T).softmax(-1)
        distance = T * T * F.cross_entropy((logits / T).flatten(0, 1), wanted.flatten(0, 1))
        return (1 - share) * loss + share * distance

    def evaluate(self, net: nn.Module, split: str) -> Quality:
        """Scores of the whole text, in parallel streams with the state carried."""
        net.eval()
        text = streams(self._text(split), SCORED_STREAMS)
        total, states = 0.0, None
        with torch.no_grad():
            for start in range(0, len(text) - 1, SCORED_STRETCH):
                tokens = text[start : start + SCORED_STRETCH]
                targets = text[start + 1 : start + 1 + SCORED_STRETCH]
                logits, states = net(tokens[: len(targets)], states)
                total += float(
                    F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
                )
        return _quality(total / ((len(text) - 1) * SCORED_STREAMS))

    def score_names(self) -> tuple[str, ...]:
        """Of a text."""
        return SCORES

    def evaluate_files(self, models: dict[str, Path], split: str) -> Quality:
        """The same through the exported step, word by word."""
        runtime = Runtime(models["step"])
        text = self._text(split)
        keys = [f"args_{index}" for index in range(len(runtime.inputs))]
        shapes = [runtime.inputs[key]["shape"] for key in keys]
        states = [np.zeros(shape, np.float32) for shape in shapes[1:]]
        total = 0.0
        for word, target in pairwise(text.tolist()):
            given = [np.full((1, 1), word, np.float32), *states]
            found = runtime(dict(zip(keys, given, strict=True)))
            logits, *states = (found[f"output_{index}"] for index in range(len(keys)))
            highest = float(logits.max())
            total += highest + math.log(float(np.exp(logits[0] - highest).sum()))
            total -= float(logits[0, target])
        return _quality(total / (len(text) - 1))

    def evaluate_deployed(self, model: Any, split: str) -> Quality:
        """There is no bundle to be evaluated."""
        raise FieldwrenError("a language model has no bundle form")

    def temperature(self, model: Any) -> float:
        """Nothing is calibrated."""
        return 1.0

    def final_split(self) -> str:
        """The test text."""
        return "test"

    def scored(self) -> str:
        """Fingerprint of the test text."""
        return self._corpus.fingerprint("test")

    def deploy(self, net: nn.Module) -> Deployed:
        """The device knows classifiers and enhancers only; `one_step` is what can be exported."""
        raise FieldwrenError("a language model has no bundle form")

    def one_step(self, net: nn.Module) -> dict[str, OneStep]:
        """The network for one word at a time, with its states by name."""
        assert isinstance(net, LanguageModel)
        step = Step(net).eval()
        names = list(step.widths)
        states = [torch.zeros(1, width) for width in step.widths.values()]
        examples = []
        for token in self.example()[:, 0]:
            inputs = [token.float().view(1, 1), *states]
            examples.append({n: v.numpy() for n, v in zip(("word", *names), inputs, strict=True)})
            with torch.no_grad():
                _, *states = step(*inputs)
        made = OneStep(
            net=step,
            inputs={"word": "number of the word"} | dict.fromkeys(names, "state before the word"),
            outputs={"logits": "of the next word"} | dict.fromkeys(names, "state after the word"),
            examples=examples,
        )
        return {"step": made}

    def _read(self, net: nn.Module, tokens: Tensor, begins: bool) -> Tensor:
        """Logits [stream, time, words] of a stretch, from where this network is in the text."""
        before = None if begins else self._carried.get(net)
        logits, states = net(tokens.T, before)
        self._carried[net] = tuple(tuple(part.detach() for part in state) for state in states)
        found: Tensor = logits.float().transpose(0, 1)
        return found

    def _text(self, split: str) -> Tensor:
        return self._corpus.numbers(split)

    @cached_property
    def _streams(self) -> Tensor:
        return streams(self._text("train"), self._settings.batches.streams)


def _quality(loss: float) -> Quality:
    ppl = math.exp(loss) if loss <= LARGEST else math.inf  # of a training that diverged
    values = -ppl, ppl, loss, loss / math.log(2)
    return Quality("score", dict(zip(SCORES, values, strict=True)))
