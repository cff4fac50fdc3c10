"""What a mask network learns from: clean speech and, when distilling, a teacher's."""

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from compress import spectra
from compress.distillation import enhancement
from compress.listening import Listeners, Listening, level
from compress.mask_loss import Images
from compress.speech import SILENT


class Loss(Listening):
    """[loss]: "sound" is SI-SDR and what one unit of compressed-spectrum distance is worth in dB;
    "frames" is the same with SI-SDR over STFT frames, in half the time, for magnitude masks;
    "cirm" is the squared distance of complex masks, FullSubNet's own, to that of the clean speech
    and, weighted by `teacher`, to the teacher's."""

    target: Literal["sound", "frames", "cirm"] = "sound"
    spectrum: float = Field(20.0, ge=0, description="towards the clean speech")
    teacher: float | None = Field(
        None, ge=0, description="towards the teacher, when distilling; by default 20, for cirm 1"
    )

    @model_validator(mode="after")
    def _cirm_is_of_masks_alone(self) -> "Loss":
        spectral = ("spectrum",) if "spectrum" in self.model_fields_set else ()
        if self.target == "cirm" and (parts := self.listeners + spectral):
            raise ValueError(f'loss.{parts[0]} needs loss.target "sound" or "frames"')
        return self

    @property
    def towards_teacher(self) -> float:
        """The weight that is given, or the usual one."""
        usual = 1.0 if self.target == "cirm" else 20.0
        return usual if self.teacher is None else self.teacher


class EnhancerLoss:
    """The loss that [loss] names, over the front end that masks and sounds go through."""

    def __init__(self, settings: Loss, end: spectra.FrontEnd) -> None:
        self._settings, self._end = settings, end
        self._heard = Listeners(settings)

    def __call__(
        self, net: nn.Module, noisy: Tensor, target: Tensor, teacher: nn.Module | None
    ) -> Tensor:
        """Of mixtures and what they should become [example, time]."""
        spectrum = self._end.analyse(noisy)
        if self._settings.target == "frames" and not getattr(teacher, "waveform", False):
            return self._of_frames(net, noisy, spectrum, target, teacher)
        wanted = None
        if teacher is not None:
            wanted = enhancement.spectrum(
                teacher,
                noisy,
                lambda mask: self._end.masked(spectrum, mask(self._end.feature(spectrum))),
                self._end.analyse,
            )
        if self._settings.target != "cirm":
            return self._of_sound(net, noisy, spectrum, target, wanted)
        mask = net(self._end.feature(spectrum))
        loss = spectra.cirm_distance(mask, spectra.ideal_mask(spectrum, self._end.analyse(target)))
        if wanted is not None:
            distance = spectra.cirm_distance(mask, spectra.ideal_mask(spectrum, wanted))
            loss = loss + self._settings.towards_teacher * distance
        return loss

    def _of_sound(
        self, net: nn.Module, noisy: Tensor, spectrum: Tensor, target: Tensor, wanted: Tensor | None
    ) -> Tensor:
        """Negative SI-SDR plus distance of compressed spectra."""
        scale = level(noisy)
        masked = self._end.masked(spectrum, net(self._end.feature(spectrum)))
        loss = shortfall(self._end.synthesise(masked, noisy.shape[1]), target)
        masked = masked / scale[..., None]
        clean = self._end.analyse(target / scale)
        loss = loss + self._settings.spectrum * spectra.compressed_distance(masked, clean)
        spoken = target.square().mean(1) > SILENT
        if spoken.any():
            loss = loss + self._heard(*(s[spoken].abs().square() for s in (masked, clean)))
        if wanted is not None:
            distance = spectra.compressed_distance(masked, wanted / scale[..., None])
            loss = loss + self._settings.towards_teacher * distance
        return loss

    def _of_frames(
        self,
        net: nn.Module,
        noisy: Tensor,
        spectrum: Tensor,
        target: Tensor,
        teacher: nn.Module | None,
    ) -> Tensor:
        """The same over STFT frames; a teacher here is a mask network."""
        images = Images.of(spectrum, self._end.analyse(target), level(noisy))
        feature = self._end.feature(spectrum)
        mask = net(feature).float()
        loss = self._settings.spectrum * images.distance(mask)
        spoken = target.square().mean(1) > SILENT
        if spoken.any():
            loss = loss - images.si_sdr(mask)[spoken].clamp_max(spectra.BEST_DB).mean()
            loss = loss + self._heard((mask.square() * images.noisy)[spoken], images.target[spoken])
        if teacher is not None:
            with torch.no_grad():
                answer = teacher(feature).float()
            loss = loss + self._settings.towards_teacher * images.masked(answer).distance(mask)
        return loss


def shortfall(sound: Tensor, target: Tensor) -> Tensor:
    """Mean negative SI-SDR in dB over the examples [example, time] that hold speech."""
    spoken = target.square().mean(1) > SILENT
    if not spoken.any():
        return sound.sum() * 0
    return -spectra.si_sdr(sound[spoken], target[spoken]).clamp_max(spectra.BEST_DB).mean()
