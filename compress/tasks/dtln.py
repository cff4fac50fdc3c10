"""Enhance speech with DTLN's published LSTMs: a trained recurrent network to be compressed.

Nothing is trained from scratch: `build` gives the published weights, and they are the baseline.
Fine-tuning hears our own mixtures; its loss is the negative SNR towards the clean speech, as the
network was trained with (scale is part of it), and with a teacher also towards what the teacher
makes of the mixture. Neither hears; parts that do may join (compress/listening.py).
"""

import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from compress import speech, speech_metrics, start
from compress.distillation.enhancement import at_level
from compress.listening import Listeners, Listening
from compress.mixing import Mixer, Mixing
from compress.spectra import BEST_DB
from compress.speech_sets import Score, Sources, SpeechSets
from compress.task import Batch, Deployed, OneStep, Quality
from compress.tasks import locate
from compress.tasks.dtln_stream import Stream
from device.errors import FieldwrenError
from device.manifest import Data, Frozen
from models import dtln
from models.dtln import DTLN, FRAME, HOP, FeatureStep, SpectrumStep

FORM = "DTLN's model.h5"
EXAMPLES = 64  # frames for parity, calibration and latency
WARM_UP = 100  # frames before the first of them
SMALL = 1e-8


class Weights(Frozen):
    """DTLN as published: two LSTM networks, one on the spectrum, one on learned features."""

    weights: str = Field(description="Keras file below a data folder")


class Batches(Frozen):
    """[batches]: mixtures are endless, so an epoch is as long as the recipe says."""

    size: int = Field(8, gt=1, description="mixtures")
    steps: int = Field(100, gt=0, description="batches per epoch")


class Loss(Listening):
    """[loss]."""

    teacher: float = Field(1.0, ge=0, description="weight of the SNR towards the teacher's sound")


class Settings(Frozen):
    """The tables this task adds to a recipe."""

    data: Sources
    model: Weights
    mixing: Mixing = Mixing()
    batches: Batches = Batches()
    loss: Loss = Loss()
    score: Score = Score()

    @model_validator(mode="after")
    def _listeners_have_frames(self) -> "Settings":
        self.loss.check(self.mixing.seconds, self.data.rate)
        return self

    @model_validator(mode="after")
    def _score_has_examples(self) -> "Settings":
        """What is exported is checked on frames of a validation mixture."""
        least = (WARM_UP * HOP + FRAME) / self.data.rate
        if self.score.seconds < least:
            raise ValueError(
                f"score.seconds {self.score.seconds:g} is too short for a frame after {WARM_UP} "
                f"others, give {math.ceil(100 * least) / 100:.2f} or more"
            )
        return self


def make(settings: Frozen, folders: tuple[Path, ...], seed: int) -> "Dtln":
    """The task on data found in `folders`."""
    assert isinstance(settings, Settings)
    return Dtln(settings, folders)


class Dtln:
    """The task of compress/task.py. Validation is on mixtures, the last score on the pairs."""

    kind = "dtln"

    def __init__(self, settings: Settings, folders: tuple[Path, ...]) -> None:
        self._settings = settings
        self._weights = locate(settings.model.weights, folders, FORM)
        self._sets = SpeechSets(settings.data, settings.score, folders)
        self._heard = Listeners(settings.loss)

    def data(self) -> Data:
        """Description, licence and fingerprint of what fine-tuning hears and starts from."""
        origin = self._sets.origin()
        whole = start.fingerprint(origin.fingerprint, self._weights)
        return origin.model_copy(update={"fingerprint": whole})

    def rate(self) -> int:
        """Hz, also of a teacher from a file (compress/distillation)."""
        return self._sets.rate

    def build(self) -> nn.Module:
        """The published network."""
        return dtln.load(self._weights)

    def example(self) -> Tensor:
        """A second of a validation mixture [1, time]."""
        noisy = self._sets.mixtures("validation")[0].noisy
        return torch.from_numpy(noisy[: self._sets.rate])[None]

    def head(self, net: nn.Module) -> list[nn.Module]:
        """The layer that gives the sound."""
        assert isinstance(net, DTLN)
        return [net.decode]

    def steps(self) -> int:
        """Batches per epoch."""
        return self._settings.batches.steps

    def batches(self, epoch: int, seed: int) -> Iterator[Batch]:
        """(noisy, target) [example, time]; new mixtures every epoch."""
        size = self._settings.batches.size
        for noisy, target in self._mixer.epoch(epoch, seed, self.steps(), size):
            yield torch.from_numpy(noisy), torch.from_numpy(target)

    def loss(self, net: nn.Module, batch: Batch, teacher: nn.Module | None) -> Tensor:
        """Mean negative SNR in dB, and what listeners say."""
        noisy, target = batch
        enhanced = net(noisy)
        loss = _shortfall(enhanced, target) + self._heard.sounds(enhanced, target, noisy)
        if teacher is not None:
            with torch.no_grad():
                wanted = teacher(noisy)
                if getattr(teacher, "waveform", False):  # a foreign one, at a level of its own
                    wanted = at_level(wanted, noisy)
            loss = loss + self._settings.loss.teacher * _shortfall(enhanced, wanted)
        return loss

    def evaluate(self, net: nn.Module, split: str) -> Quality:
        """SI-SDR on fixed mixtures; on "test" all scores, of the pairs."""
        return self._scores(self._offline(net), split, fast=split == "validation")

    def detailed(self, net: nn.Module, split: str) -> Quality:
        """The same with PESQ and STOI on "validation", too: seconds of processor a recording."""
        return self._scores(self._offline(net), split, fast=False)

    def score_names(self) -> tuple[str, ...]:
        """Those of speech_metrics."""
        return speech_metrics.NAMES

    def _offline(self, net: nn.Module) -> speech_metrics.Enhance:
        """What the network makes of a whole recording."""
        net.eval()
        device = next(net.parameters()).device

        def enhance(noisy: speech.Samples) -> speech.Samples:
            with torch.no_grad():
                sound = torch.from_numpy(noisy)[None].to(device)
                found: speech.Samples = net(sound)[0].cpu().numpy()
            return found

        return enhance

    def evaluate_files(self, models: dict[str, Path], split: str) -> Quality:
        """All scores of either split through the exported parts, frame by frame."""
        enhance = Stream(models["spectrum"], models["feature"]).enhance
        return self._scores(enhance, split, fast=False)

    def evaluate_deployed(self, model: Any, split: str) -> Quality:
        """There is no bundle to be evaluated."""
        raise FieldwrenError("two parts with LSTM states have no bundle form")

    def temperature(self, model: Any) -> float:
        """A mask is no probability."""
        return 1.0

    def final_split(self) -> str:
        """Pairs that nothing was chosen on."""
        return "test"

    def scored(self) -> str:
        """Fingerprint of the test recordings and the pairs."""
        return self._sets.scored()

    def deploy(self, net: nn.Module) -> Deployed:
        """A bundle holds one model; `one_step` is what can be exported."""
        raise FieldwrenError("two parts with LSTM states have no bundle form")

    def one_step(self, net: nn.Module) -> dict[str, OneStep]:
        """The two parts, with real frames of a mixture."""
        assert isinstance(net, DTLN)
        noisy = torch.from_numpy(self._sets.mixtures("validation")[0].noisy)
        frames = noisy.unfold(0, FRAME, HOP)
        first, second = SpectrumStep(net).eval(), FeatureStep(net).eval()
        states = [_zeros(part.separator) for part in (first, second)]
        examples: list[list[dict[str, np.ndarray[Any, Any]]]] = [[], []]
        with torch.no_grad():
            for frame in frames[WARM_UP : WARM_UP + EXAMPLES]:
                spectrum = torch.fft.rfft(frame[None])
                examples[0].append(_inputs("magnitude", spectrum.abs(), states[0]))
                mask, *ends = first(spectrum.abs(), *states[0].values())
                states[0] = dict(zip(states[0], ends, strict=True))
                masked = torch.fft.irfft(spectrum * mask, FRAME)
                examples[1].append(_inputs("frame", masked, states[1]))
                _, *ends = second(masked, *states[1].values())
                states[1] = dict(zip(states[1], ends, strict=True))
        texts = (
            (first, "spectrum", "magnitude", "of the frame's spectrum", "mask", "of the spectrum"),
            (second, "feature", "frame", "with its mask", "block", "samples to be overlap-added"),
        )
        return {
            name: OneStep(
                net=part,
                inputs={given: what} | dict.fromkeys(state, "state before the frame"),
                outputs={answer: meaning} | dict.fromkeys(state, "state after the frame"),
                examples=own,
            )
            for (part, name, given, what, answer, meaning), state, own in zip(
                texts, states, examples, strict=True
            )
        }

    def _scores(self, enhance: speech_metrics.Enhance, split: str, *, fast: bool) -> Quality:
        pairs = self._sets.mixtures(split) if split == "validation" else self._sets.pairs
        return Quality("si_sdr", speech_metrics.score(pairs, enhance, self._sets.rate, fast=fast))

    @cached_property
    def _mixer(self) -> Mixer:
        return self._sets.mixer(self._settings.mixing)


def _zeros(separator: dtln.Separator) -> dict[str, Tensor]:
    return {name: torch.zeros(1, width) for name, width in dtln.widths(separator).items()}


def _inputs(name: str, value: Tensor, states: dict[str, Tensor]) -> dict[str, np.ndarray[Any, Any]]:
    return {name: value.numpy()} | {state: held.numpy() for state, held in states.items()}


def _shortfall(sound: Tensor, target: Tensor) -> Tensor:
    """Mean negative SNR in dB over the examples that hold sound, at most BEST_DB of each."""
    power = target.square().sum(1)
    ratio = power / ((sound - target).square().sum(1) + SMALL)
    snr = 10 * torch.log10(ratio + SMALL).clamp_max(BEST_DB / 10)
    heard = power > SMALL
    return -(snr * heard).sum() / heard.sum().clamp_min(1)
