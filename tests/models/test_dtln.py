"""DTLN: the published weights in our module compute what the published files compute."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter

from device.errors import BadInputError
from models import dtln
from models.dtln import DTLN, FRAME, HOP, FeatureStep, SpectrumStep

PEER = Path(os.environ.get("FIELDWREN_DATA", "../shared/data")) / "peers/dtln"
published = pytest.mark.skipif(
    not (PEER / "model.h5").is_file(), reason="needs peers/dtln of FIELDWREN_DATA"
)


def sound(samples: int = 4000) -> torch.Tensor:
    time = torch.arange(samples) / 16000
    random = torch.Generator().manual_seed(0)
    voice = torch.sin(2 * torch.pi * 220 * time) * (torch.sin(2 * torch.pi * 3 * time) > 0)
    return 0.2 * voice + 0.05 * torch.randn(samples, generator=random)


def small() -> DTLN:
    torch.manual_seed(0)
    net = DTLN(units=8)
    torch.nn.init.normal_(net.shift, std=0.1)
    return net.eval()


@torch.no_grad()
def streamed(net: DTLN, noisy: torch.Tensor) -> torch.Tensor:
    """Frame by frame with explicit states, as a host runs the two parts."""
    first, second = SpectrumStep(net), FeatureStep(net)
    states = [
        [torch.zeros(1, width) for width in dtln.widths(part.separator).values()]
        for part in (first, second)
    ]
    window, summed, out = torch.zeros(1, FRAME), torch.zeros(1, FRAME), []
    for hop in torch.cat((noisy, torch.zeros(FRAME - HOP))).split(HOP):
        window = torch.cat(
            (window[:, HOP:], torch.nn.functional.pad(hop, (0, HOP - len(hop)))[None]), 1
        )
        spectrum = torch.fft.rfft(window)
        mask, *states[0] = first(spectrum.abs(), *states[0])
        block, *states[1] = second(torch.fft.irfft(spectrum * mask, FRAME), *states[1])
        summed = torch.nn.functional.pad(summed[:, HOP:], (0, HOP)) + block
        out.append(summed[0, :HOP])
    return torch.cat(out)[FRAME - HOP :][: len(noisy)]


@torch.no_grad()
def test_streaming_equals_offline() -> None:
    net, noisy = small(), sound()
    offline = net(noisy[None])[0]
    assert offline.shape == noisy.shape
    assert (streamed(net, noisy) - offline).abs().max() < 1e-5


@torch.no_grad()
def test_nothing_looks_ahead_of_its_frame() -> None:
    net, noisy = small(), sound()
    other = noisy.clone()
    other[2048:] = 0
    before, after = net(noisy[None])[0], net(other[None])[0]
    assert torch.equal(before[: 2048 - FRAME], after[: 2048 - FRAME])
    assert not torch.equal(before[2048:], after[2048:])


def test_other_weights_are_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with pytest.raises(BadInputError, match="cannot be read"):
        dtln.load(tmp_path / "none.h5")
    with h5py.File(tmp_path / "other.h5", "w") as target:
        target["dense/dense/kernel:0"] = np.zeros((3, 3))
    with pytest.raises(BadInputError, match="not DTLN"):
        dtln.load(tmp_path / "other.h5")


@published
def test_published_size() -> None:
    net = dtln.load(PEER / "model.h5")
    assert sum(p.numel() for p in net.parameters()) == 986_753


@published
@torch.no_grad()
def test_parity_with_the_published_files() -> None:
    """Both parts, 60 frames with the states carried on; they carry h and c of a layer together."""
    net = dtln.load(PEER / "model.h5").eval()
    frames = torch.nn.functional.pad(sound(8000), (FRAME - HOP, 0)).unfold(0, FRAME, HOP)
    inputs = (torch.fft.rfft(frames).abs(), frames)
    for number, step in enumerate((SpectrumStep(net), FeatureStep(net))):
        theirs = Interpreter(str(PEER / f"model_{number + 1}.tflite"))  # without signatures
        theirs.allocate_tensors()
        by_rank = [
            {len(detail["shape"]): detail["index"] for detail in details}
            for details in (theirs.get_input_details(), theirs.get_output_details())
        ]
        state = np.zeros((1, 2, 128, 2), np.float32)
        own = [torch.zeros(1, 128) for _ in range(4)]
        worst, largest = 0.0, 0.0
        for frame in inputs[number][:60]:
            theirs.set_tensor(by_rank[0][3], frame[None, None].numpy())
            theirs.set_tensor(by_rank[0][4], state)
            theirs.invoke()
            want, state = (theirs.get_tensor(by_rank[1][rank]) for rank in (3, 4))
            answer, *own = step(frame[None], *own)
            worst = max(worst, float(np.abs(answer.numpy() - want[0]).max()))
            largest = max(largest, float(np.abs(want).max()))
        assert worst < 1e-5 * max(1.0, largest)
