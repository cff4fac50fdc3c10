import pytest
import torch

from compress import spectra
from compress.mask_loss import Images
from device.manifest import SpectrumInput

END = spectra.FrontEnd(
    SpectrumInput(
        rate=16_000,
        n_fft=512,
        hop=256,
        feature="compressed_magnitude",
        exponent=0.3,
        mask="magnitude",
        lookahead=0,
    )
)


@pytest.fixture
def sounds() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    target = torch.randn(3, 16 * 256) * torch.tensor([[0.3], [0.03], [0.003]])
    target[:, 1000:2000] = 0
    return target + 0.1 * torch.randn(3, 16 * 256), target


def test_distance_is_that_of_complex_spectra(sounds: tuple[torch.Tensor, torch.Tensor]) -> None:
    noisy, target = sounds
    level = noisy.square().mean(1, keepdim=True).sqrt()
    spectrum, wanted = END.analyse(noisy), END.analyse(target)
    mask = torch.rand(spectrum.shape, requires_grad=True)
    fast = Images.of(spectrum, wanted, level).distance(mask)
    (own,) = torch.autograd.grad(fast, mask)
    slow = spectra.compressed_distance(
        END.masked(spectrum, mask) / level[..., None], END.analyse(target / level)
    )
    (other,) = torch.autograd.grad(slow, mask)
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(own, other, rtol=1e-3, atol=1e-7)


def test_ratio_bounds_that_of_the_sound(sounds: tuple[torch.Tensor, torch.Tensor]) -> None:
    noisy, target = sounds
    level = torch.ones(3, 1)
    spectrum = END.analyse(noisy)
    images = Images.of(spectrum, END.analyse(target), level)
    flat = torch.full(spectrum.shape, 0.7)
    random = torch.rand(spectrum.shape)
    for mask, equal in ((flat, True), (random, False)):
        sound = END.synthesise(END.masked(spectrum, mask), noisy.shape[1])
        exact, bound = spectra.si_sdr(sound, target), images.si_sdr(mask)
        assert (bound <= exact + 0.2).all()  # the first and last half window are in one frame only
        assert (bound < exact - 0.2).any() or equal
        if equal:
            torch.testing.assert_close(bound, exact, rtol=0, atol=0.2)


def test_a_teachers_answer_is_its_mask_as_the_target(
    sounds: tuple[torch.Tensor, torch.Tensor],
) -> None:
    noisy, target = sounds
    level = noisy.square().mean(1, keepdim=True).sqrt()
    spectrum = END.analyse(noisy)
    answer, mask = torch.rand(spectrum.shape), torch.rand(spectrum.shape)
    images = Images.of(spectrum, END.analyse(target), level).masked(answer)
    assert float(images.distance(answer)) == pytest.approx(0, abs=1e-6)
    slow = spectra.compressed_distance(
        END.masked(spectrum, mask) / level[..., None],
        END.masked(spectrum, answer) / level[..., None],
    )
    torch.testing.assert_close(images.distance(mask), slow, rtol=1e-4, atol=1e-6)
