"""What the parts of the enhancer's loss that imitate listening have in common."""

import pytest
import torch
from pydantic import ValidationError

from compress import spectra
from compress.enhancer_loss import LISTENERS, EnhancerLoss, Loss
from compress.tasks.enhancer import Settings
from device.errors import BadInputError
from device.manifest import SpectrumInput
from tests.compress.sounds import SMALL
from tests.compress.voices import END, FRAMES, RATE, power, voiced

each = pytest.mark.parametrize("name", LISTENERS)


@each
def test_gradients_are_finite_in_silence(name: str) -> None:
    listener = LISTENERS[name][0]()
    clean = voiced(2)
    clean[:, : RATE // 2] = 0
    for noisy in (torch.zeros_like(clean), clean):
        mask = torch.full((1, 257, 126), 0.5, requires_grad=True)
        listener(mask.square() * power(noisy), power(clean)).sum().backward()
        assert mask.grad is not None
        assert mask.grad.isfinite().all()


@each
def test_it_is_part_of_the_loss_of_sounds_and_of_frames(name: str) -> None:
    class Half(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full_like(x, 0.5)

    torch.manual_seed(1)
    clean = torch.cat((voiced(3), torch.zeros(1, 2 * RATE)))  # one example has no speech
    noisy = clean + 0.01 * torch.randn_like(clean)
    wanted = LISTENERS[name][0]()(power(noisy[:1]), power(clean[:1])).item()
    for target in ("sound", "frames"):
        with_it, without = (
            EnhancerLoss(Loss.model_validate({"target": target, name: w}), END)(
                Half(), noisy, clean, None
            )
            for w in (30.0, 0.0)
        )
        assert (with_it - without).item() == pytest.approx(30 * wanted, rel=5e-3)


@each
def test_it_needs_its_own_frames_and_a_sound(name: str) -> None:
    other = spectra.FrontEnd(SpectrumInput(rate=16_000, n_fft=256, hop=128, **FRAMES))
    with pytest.raises(BadInputError, match=rf"loss\.{name} .* 256 samples and a hop of 128"):
        EnhancerLoss(Loss.model_validate({"target": "frames", name: 1.0}), other)
    with pytest.raises(ValueError, match=rf"loss\.{name} needs loss\.target"):
        Loss.model_validate({"target": "cirm", name: 1.0})


@pytest.mark.parametrize(("name", "least"), [("perceptual", 0.32), ("intelligibility", 0.384)])
def test_mixtures_must_be_long_enough(name: str, least: float) -> None:
    def settings(seconds: float) -> Settings:
        loss = {"target": "sound", name: 1.0}
        return Settings.model_validate({**SMALL, "mixing": {"seconds": seconds}, "loss": loss})

    settings(least)
    with pytest.raises(ValidationError, match=rf"must be {least} or more for loss\.{name}"):
        settings(least - 0.016)


def test_a_mixture_of_one_frame_is_no_listeners_trouble() -> None:
    both = {"target": "sound", "perceptual": 1.0, "intelligibility": 1.0}
    with pytest.raises(ValidationError, match=r"0\.384 or more for loss\.intelligibility"):
        Settings.model_validate({**SMALL, "mixing": {"seconds": 0.352}, "loss": both})
    Settings.model_validate({**SMALL, "mixing": {"seconds": 0.032}})
