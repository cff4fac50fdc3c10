"""What the parts of the enhancer's loss that imitate listening have in common."""

import pytest
import torch
from pydantic import ValidationError

from compress.enhancer_loss import EnhancerLoss, Loss
from compress.listening import PARTS, Listeners, Listening
from compress.tasks.enhancer import Settings
from tests.compress.sounds import SMALL
from tests.compress.voices import END, RATE, power, voiced

each = pytest.mark.parametrize("name", PARTS)


@each
def test_gradients_are_finite_in_silence(name: str) -> None:
    listener = PARTS[name][0]()
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
    wanted = PARTS[name][0]()(power(noisy[:1]), power(clean[:1])).item()
    for target in ("sound", "frames"):
        with_it, without = (
            EnhancerLoss(Loss.model_validate({"target": target, name: w}), END)(
                Half(), noisy, clean, None
            )
            for w in (30.0, 0.0)
        )
        assert (with_it - without).item() == pytest.approx(30 * wanted, rel=5e-3)


@each
def test_sounds_are_heard_at_one_level_and_silent_ones_left_out(name: str) -> None:
    clean = torch.cat((voiced(3), torch.zeros(1, 2 * RATE)))
    noisy = clean + 0.01 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    listeners = Listeners(Listening.model_validate({name: 30.0}))
    rms = noisy[:1].square().mean().sqrt()
    half = 0.5 * noisy
    wanted = PARTS[name][0]()(power(half[:1] / rms), power(clean[:1] / rms)).item()
    assert float(listeners.sounds(half, clean, noisy)) == pytest.approx(30 * wanted, rel=5e-3)
    quiet = [0.01 * sound for sound in (half, clean, noisy)]
    assert float(listeners.sounds(*quiet)) == pytest.approx(30 * wanted, rel=2e-2)
    assert listeners.sounds(noisy, torch.zeros_like(clean), noisy) == 0
    assert Listeners(Listening()).sounds(noisy, clean, noisy) == 0


@each
def test_it_needs_its_own_frames_and_a_sound(name: str) -> None:
    loss = {"target": "frames", name: 1.0}
    model = {"n_fft": 256, "hop": 128}
    with pytest.raises(ValidationError, match=rf"loss\.{name} .* 256 samples and a hop of 128"):
        Settings.model_validate({**SMALL, "model": {**SMALL["model"], **model}, "loss": loss})
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
