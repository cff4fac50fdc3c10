"""Parts of a loss that imitate what a score of listening would say, for all that enhance speech."""

from pydantic import Field
from torch import Tensor, nn
from torchaudio.transforms import Spectrogram

from compress import intelligibility_loss, perceptual_loss, spectra
from compress.intelligibility_loss import Intelligibility
from compress.perceptual_loss import N_FFT, RATE, Perceptual
from compress.speech import SILENT
from device.manifest import Frozen

HOP = N_FFT // 2
QUIETEST = 1e-5  # RMS below which an example is not brought to a common level
PARTS = {  # and the frames that each needs
    "perceptual": (Perceptual, perceptual_loss.SPAN),
    "intelligibility": (Intelligibility, intelligibility_loss.SPAN),
}


class Listening(Frozen):
    """What a [loss] says of them: their weights."""

    perceptual: float = Field(
        0.0, ge=0, description="PESQ's model of hearing (compress/perceptual_loss.py)"
    )
    intelligibility: float = Field(
        0.0, ge=0, description="short-time intelligibility (compress/intelligibility_loss.py)"
    )

    @property
    def listeners(self) -> tuple[str, ...]:
        """Those that have a weight, by name."""
        return tuple(name for name in PARTS if getattr(self, name))

    def check(self, seconds: float, rate: int, n_fft: int = N_FFT, hop: int = HOP) -> None:
        """Raises ValueError: examples are too short, or frames are not those of the models."""
        if self.listeners and (rate, n_fft, hop) != (RATE, N_FFT, HOP):
            raise ValueError(
                f"loss.{self.listeners[0]} needs {RATE} Hz and frames of {N_FFT} samples at half "
                f"overlap, not {rate} Hz, {n_fft} samples and a hop of {hop}"
            )
        for name in self.listeners:
            _, span = PARTS[name]
            if int(seconds * rate / hop) < span:
                least = span * hop / rate
                raise ValueError(f"mixing.seconds must be {least:g} or more for loss.{name}")


class Listeners(nn.Module):
    """The parts that have a weight, each with it."""

    def __init__(self, settings: Listening) -> None:
        super().__init__()
        self.weights = {name: getattr(settings, name) for name in settings.listeners}
        self.parts = nn.ModuleDict({name: PARTS[name][0]() for name in self.weights})
        self.power = Spectrogram(
            N_FFT, hop_length=HOP, window_fn=spectra.window, pad_mode="constant"
        )

    def forward(self, estimate: Tensor, target: Tensor) -> Tensor | float:
        """Of power spectra [example, bin, frame] with speech, brought to one level."""
        loss: Tensor | float = 0.0
        for name, part in self.to(estimate.device).parts.items():
            loss = loss + self.weights[name] * part(estimate, target).mean()
        return loss

    def sounds(self, estimate: Tensor, target: Tensor, noisy: Tensor) -> Tensor | float:
        """Of sounds [example, time], those without speech left out."""
        spoken = target.square().mean(1) > SILENT
        if not self.weights or not spoken.any():
            return 0.0
        scale = level(noisy[spoken])
        self.to(estimate.device)
        powers = [self.power(sound[spoken] / scale) for sound in (estimate, target)]
        return self.forward(*powers)


def level(noisy: Tensor) -> Tensor:
    """RMS [example, 1]: spectra are compared at one level, so that quiet examples count as much."""
    return noisy.square().mean(1, keepdim=True).sqrt().clamp_min(QUIETEST)
