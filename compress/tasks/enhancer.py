"""Speech enhancement: a streaming network turns each STFT frame's feature into a mask."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from compress import mask_networks, spectra, speech, speech_metrics, start, stream_frames
from compress.enhancer_loss import EnhancerLoss, Loss, shortfall
from compress.mask_networks import Network, Tcn
from compress.mixing import Mixer, Mixing
from compress.speech_sets import Score, Sources, SpeechSets, own
from compress.task import Batch, Deployed, Quality
from device.enhancer import StreamEnhancer
from device.manifest import Data, Frozen
from models.masks import MaskNet

GOOD = 20.0  # dB of SI-SDR that count as a grade of one
EXAMPLES = 64  # real frames for parity, latency and calibration


class Batches(Frozen):
    """[batches]: mixtures are endless, so an epoch is as long as the recipe says."""

    size: int = Field(16, gt=1, description="mixtures")
    steps: int = Field(500, gt=0, description="batches per epoch")


class Settings(Frozen):
    """The tables this task adds to a recipe."""

    data: Sources
    model: Network = Tcn()
    mixing: Mixing = Mixing()
    batches: Batches = Batches()
    loss: Loss = Loss()
    score: Score = Score()

    @model_validator(mode="after")
    def _loss_fits_mask(self) -> "Settings":
        for target, mask in (("cirm", "complex"), ("frames", "magnitude")):
            if self.loss.target == target and self.model.mask != mask:
                raise ValueError(f'loss.target "{target}" needs model.mask "{mask}"')
        return self

    @model_validator(mode="after")
    def _examples_hold_a_frame(self) -> "Settings":
        if int(self.mixing.seconds * self.data.rate) < self.model.n_fft:
            raise ValueError(
                f"mixing.seconds {self.mixing.seconds:g} is less than a frame of "
                f"{self.model.n_fft} samples at {self.data.rate} Hz"
            )
        return self

    @model_validator(mode="after")
    def _listeners_have_frames(self) -> "Settings":
        model = self.model
        self.loss.check(self.mixing.seconds, self.data.rate, model.n_fft, model.hop)
        return self

    @model_validator(mode="after")
    def _score_has_examples(self) -> "Settings":
        """What is exported is checked on frames of the validation mixtures."""
        least = (stream_frames.WARM_UP + 1) * self.model.hop / self.data.rate
        if self.score.seconds < least:
            raise ValueError(
                f"score.seconds {self.score.seconds:g} is too short: rings are full after "
                f"{stream_frames.WARM_UP} frames, give {least:.2f} or more"
            )
        return self


def make(settings: Frozen, folders: tuple[Path, ...], seed: int) -> "Enhancer":
    """The task on data found in `folders`. The split has a seed of its own, in [data]."""
    assert isinstance(settings, Settings)
    return Enhancer(settings, folders)


class Enhancer:
    """The task of compress/task.py."""

    kind = "enhance"

    def __init__(self, settings: Settings, folders: tuple[Path, ...]) -> None:
        self._settings = settings
        self._sets = SpeechSets(own(settings.data, folders[0]), settings.score, folders)
        self._front = mask_networks.front_end(settings.model, settings.data.rate)
        self._end = spectra.FrontEnd(self._front)
        self._loss = EnhancerLoss(settings.loss, self._end)
        self._start = start.find(settings.model.start, folders)
        self._noisy: dict[tuple[str, bool], dict[str, float]] = {}  # split, all scores? → as it is

    def data(self) -> Data:
        """Description, licence and fingerprint of what the network learns from."""
        origin = self._sets.origin()
        if self._start is None:
            return origin
        return origin.model_copy(
            update={"fingerprint": start.fingerprint(origin.fingerprint, self._start)}
        )

    def build(self) -> nn.Module:
        """The uncompressed network, fresh or with the weights that [model] starts from.

        Raises:
            BadInputError: they are no such weights, or another network's.
        """
        net = self._settings.model.build(self._settings.data.rate)
        if self._start is not None:
            start.load(net, self._start)
        return net

    def example(self) -> Tensor:
        """The feature of one validation mixture [1, feature, frame]."""
        noisy = torch.from_numpy(self._sets.mixtures("validation")[0].noisy)[None]
        return self._end.feature(self._end.analyse(noisy))

    def head(self, net: nn.Module) -> list[nn.Module]:
        """The layer that gives the mask."""
        assert isinstance(net, MaskNet)
        return [net.answer]

    def steps(self) -> int:
        """Batches per epoch."""
        return self._settings.batches.steps

    def batches(self, epoch: int, seed: int) -> Iterator[Batch]:
        """(noisy, target) [example, time]; new mixtures every epoch."""
        size = self._settings.batches.size
        for noisy, target in self._mixer.epoch(epoch, seed, self.steps(), size):
            yield torch.from_numpy(noisy), torch.from_numpy(target)

    def loss(self, net: nn.Module, batch: Batch, teacher: nn.Module | None) -> Tensor:
        """What [loss] says, towards the clean speech and, when distilling, towards the teacher."""
        noisy, target = batch
        return self._loss(net, noisy, target, teacher)

    def evaluate(self, net: nn.Module, split: str) -> Quality:
        """SI-SDR on fixed mixtures; on "test" all scores, also of the noisy input and on pairs."""
        return self._scores(self._offline(net), split, every=split != "validation")

    def detailed(self, net: nn.Module, split: str) -> Quality:
        """The same with PESQ and STOI on "validation", too: seconds of processor a recording."""
        return self._scores(self._offline(net), split, every=True)

    def score_names(self) -> tuple[str, ...]:
        """Those of speech_metrics, also of the noisy input, and what the network gains."""
        names = speech_metrics.NAMES
        return (*names, "si_sdr_gain", *(f"noisy_{name}" for name in names))

    def _offline(self, net: nn.Module) -> speech_metrics.Enhance:
        """What the training form makes of a whole recording."""
        net.eval()
        device = next(net.parameters()).device

        def enhance(noisy: speech.Samples) -> speech.Samples:
            with torch.no_grad():
                sound = torch.from_numpy(noisy)[None].to(device)
                enhanced = self._end.enhance(net, sound)
            result: speech.Samples = enhanced[0].cpu().numpy()
            return result

        return enhance

    def minibatches(self, size: int) -> int:
        """Whole minibatches of the validation mixtures (compress/enas/grades.py)."""
        return max(1, len(self._validation) // size)

    def minibatch(self, number: int, size: int) -> Batch:
        """(noisy, target) [example, time] of validation mixtures, shuffled after every pass."""
        pairs = self._validation
        again, index = divmod(number, self.minibatches(size))
        order = np.random.default_rng(again).permutation(len(pairs))
        chosen = [pairs[i] for i in order[index * size : (index + 1) * size]]
        length = min(len(pair.noisy) for pair in chosen)
        noisy, clean = (
            torch.from_numpy(np.stack([getattr(pair, name)[:length] for pair in chosen]))
            for name in ("noisy", "clean")
        )
        return noisy, clean

    def grade(self, net: nn.Module, batch: Batch) -> float:
        """SI-SDR over GOOD: with a reward's usual weights, a decibel counts as five points."""
        noisy, target = batch
        return float(-shortfall(self._end.enhance(net, noisy), target)) / GOOD

    def evaluate_deployed(self, model: Any, split: str) -> Quality:
        """The same, frame by frame through the code that runs on the device."""
        enhance = StreamEnhancer(model).enhance
        return self._scores(enhance, split, every=split != "validation")

    def temperature(self, model: Any) -> float:
        """A mask is no probability."""
        return 1.0

    def final_split(self) -> str:
        """Reported figures are of speakers and noises that were never heard."""
        return "test"

    def scored(self) -> str:
        """Fingerprint of the test recordings and the pairs."""
        return self._sets.scored()

    def deploy(self, net: nn.Module) -> Deployed:
        """One frame per invocation; the host keeps the states."""
        assert isinstance(net, MaskNet)
        stream = net.stream()
        return Deployed(
            net=stream,
            inputs={
                "frame": f"{self._front.feature} of the newest STFT frame",
                **{state.spec.input: state.meaning for state in stream.states},
            },
            outputs={
                "mask": f"{self._front.mask} mask of the frame {self._front.lookahead} frames ago",
                **{state.spec.output: f"new {state.spec.input}" for state in stream.states},
            },
            states=tuple(state.spec for state in stream.states),
            preprocessing=self._front,
            examples=stream_frames.evenly(
                stream,
                self._end,
                [pair.noisy for pair in self._sets.mixtures("validation")[:4]],
                EXAMPLES,
            ),
            golden=stream_frames.golden(stream, self._end, self._sets.rate, self._front.hop),
        )

    def _scores(self, enhance: speech_metrics.Enhance, split: str, *, every: bool) -> Quality:
        noisy = self._noisy.get((split, every))
        if noisy is None:
            noisy = self._noisy[split, every] = self._measured(_as_is, split, every)
        scores = self._measured(enhance, split, every)
        gain = {"si_sdr_gain": scores["si_sdr"] - noisy["si_sdr"]}
        return Quality("si_sdr", scores | gain | {f"noisy_{n}": v for n, v in noisy.items()})

    def _measured(
        self, enhance: speech_metrics.Enhance, split: str, every: bool
    ) -> dict[str, float]:
        rate = self._sets.rate
        scores = speech_metrics.score(self._sets.mixtures(split), enhance, rate, fast=not every)
        if split != "validation" and self._sets.pairs:  # which are read once, at the end
            pairs = speech_metrics.score(self._sets.pairs, enhance, rate, fast=False)
            scores |= {f"pairs_{name}": value for name, value in pairs.items()}
        return scores

    @cached_property
    def _validation(self) -> list[speech.Pair]:
        return self._sets.mixtures("validation")

    @cached_property
    def _mixer(self) -> Mixer:
        return self._sets.mixer(self._settings.mixing)


def _as_is(noisy: speech.Samples) -> speech.Samples:
    return noisy
