"""The enhancer's front end and losses on whole sequences, in torch, as device/enhancer.py has them.

S   = STFT(x), square-root periodic Hann window; frame t is centred where hop t begins, so it ends
    with hop t where a window is two hops long; zeros before the start
c   = S·|S|^(exponent−1) (real then imaginary) or |S|^exponent          [batch, feature, frame]
ŷ   = ISTFT(S·mask)
"""

import torch
from torch import Tensor, nn
from torchaudio.transforms import InverseSpectrogram, Spectrogram

from device.manifest import SpectrumInput
from models.fullsubnet_parts import at_least_single, compress_mask

SMALLEST = 1e-12  # |S| below it has no phase; device/enhancer.py's figure
FLOOR = 1e-6  # |S|² added before compression in the loss: bounds its gradient in silence
POWER = 0.3  # the loss compares |S|^0.3: what the ear hears as loudness
BEST_DB = 30.0  # SI-SDR beyond it is not rewarded: an easy example must not rule the batch


def window(size: int, periodic: bool = True) -> Tensor:
    """Square-root Hann [size]."""
    return torch.hann_window(size, periodic=periodic).sqrt()


class FrontEnd(nn.Module):
    """STFT, feature, masking and inverse STFT of one SpectrumInput, wherever the sound is."""

    def __init__(self, config: SpectrumInput) -> None:
        super().__init__()
        self.config = config
        size = {"n_fft": config.n_fft, "hop_length": config.hop, "window_fn": window}
        self._analyse = Spectrogram(power=None, pad_mode="constant", **size)
        self._synthesise = InverseSpectrogram(**size)

    def analyse(self, sound: Tensor) -> Tensor:
        """[batch, time] → complex [batch, bin, frame]; the last hop is filled with zeros."""
        self.to(sound.device)
        missing = -sound.shape[-1] % self.config.hop
        spectrum: Tensor = self._analyse(nn.functional.pad(sound, (0, missing)))
        return spectrum

    def synthesise(self, spectrum: Tensor, length: int) -> Tensor:
        """Complex [batch, bin, frame] → [batch, length], aligned with what was analysed."""
        self.to(spectrum.device)
        sound: Tensor = self._synthesise(spectrum, spectrum.shape[-1] * self.config.hop)
        return sound[..., :length]

    def feature(self, spectrum: Tensor) -> Tensor:
        """Complex [batch, bin, frame] → real [batch, feature, frame]."""
        magnitude = spectrum.abs()
        exponent = self.config.exponent
        if self.config.feature == "compressed_magnitude":
            return magnitude**exponent
        compressed = spectrum * magnitude.clamp_min(SMALLEST) ** (exponent - 1)
        return torch.cat((compressed.real, compressed.imag), 1)

    def masked(self, spectrum: Tensor, mask: Tensor) -> Tensor:
        """Complex spectrum times the network's mask [batch, mask, frame]."""
        mask = at_least_single(mask)  # torch.complex takes no bfloat16
        if self.config.mask == "magnitude":
            return spectrum * mask
        real, imaginary = mask.chunk(2, 1)
        return spectrum * torch.complex(real, imaginary)

    def enhance(self, net: nn.Module, sound: Tensor) -> Tensor:
        """Noisy sound [batch, time] → what a mask network makes of it, of the same shape."""
        spectrum = self.analyse(sound)
        return self.synthesise(self.masked(spectrum, net(self.feature(spectrum))), sound.shape[-1])


def si_sdr(estimate: Tensor, target: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio [batch] in dB; the mean is kept.

    Le Roux et al. 2019, arXiv:1811.02508: α = ⟨ŷ,y⟩/‖y‖², 10·log10(‖αy‖²/‖ŷ−αy‖²).
    """
    small = 1e-8
    alpha = (estimate * target).sum(-1, keepdim=True) / (
        target.square().sum(-1, keepdim=True) + small
    )
    wanted = alpha * target
    ratio = wanted.square().sum(-1) / ((estimate - wanted).square().sum(-1) + small)
    return 10 * torch.log10(ratio + small)


def compressed_distance(estimate: Tensor, target: Tensor) -> Tensor:
    """Mean squared distance of compressed spectra, half magnitude and half complex."""
    power = [(s.real.square() + s.imag.square() + FLOOR) for s in (estimate, target)]
    magnitude = (power[0] ** (POWER / 2) - power[1] ** (POWER / 2)).square().mean()
    difference = estimate * power[0] ** ((POWER - 1) / 2) - target * power[1] ** ((POWER - 1) / 2)
    return 0.5 * magnitude + 0.5 * (difference.real.square() + difference.imag.square()).mean()


def ideal_mask(noisy: Tensor, clean: Tensor) -> Tensor:
    """Spectra [batch, bin, frame] → the complex mask that makes one of the other.

    Real parts, then imaginary ones, [batch, 2·bin, frame]; zero where the noisy one is silent.
    """
    ratio = clean * noisy.conj() / (noisy.abs().square() + SMALLEST)
    return torch.cat((ratio.real, ratio.imag), 1)


def cirm_distance(estimate: Tensor, target: Tensor) -> Tensor:
    """Mean squared distance of complex masks in their compressed form (FullSubNet's loss)."""
    return (compress_mask(estimate) - compress_mask(target)).square().mean()
