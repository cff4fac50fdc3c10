"""Mask networks by kind: what a recipe may say, and what a device then computes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import nn

from compress import mask_networks
from compress.mask_networks import Bands, Fast, Hybrid, Network, Published, Tcn
from compress.nodes import nodes
from compress.spectra import FrontEnd
from device import bundle
from device.enhancer import StreamEnhancer
from device.manifest import Frozen, SpectrumInput
from models.fullsubnet import FullSubNet
from models.fullsubnet_fast import FastFullSubNet
from models.masks import MaskNet
from models.tcn import TCN
from models.tcn_bands import BandTCN
from models.tcn_hybrid import TCNHybrid
from tests import bundles
from tests.models.test_fullsubnet import lively

RATE = 16_000


class Table(Frozen):
    model: Network = Tcn()


@pytest.mark.parametrize(
    ("table", "settings", "network"),
    [
        ({}, Tcn, TCN),
        ({"kind": "tcn", "residual": 8, "lookahead": 1}, Tcn, TCN),
        ({"kind": "band-tcn", "channels": 8, "lookahead": 1}, Bands, BandTCN),
        ({"kind": "fullsubnet", "full": [4], "sub": [3]}, Published, FullSubNet),
        ({"kind": "fast-fullsubnet", "encoder": [4], "sub": [3]}, Fast, FastFullSubNet),
        ({"kind": "tcn-hybrid", "hidden": 4, "sub": [3]}, Hybrid, TCNHybrid),
    ],
)
def test_a_kind_names_a_network(
    table: dict[str, object], settings: type, network: type[MaskNet]
) -> None:
    model = Table.model_validate({"model": table}).model
    net = model.build(RATE)
    assert (type(model), type(net)) == (settings, network)
    assert mask_networks.front_end(model, RATE).lookahead == net.lookahead
    assert net.eval()(torch.rand(1, 257, 5)).shape == (1, 257, 5)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (
            {"kind": "gru"},
            "no such kind; there are tcn, band-tcn, fullsubnet, fast-fullsubnet, tcn-hybrid",
        ),
        ({"kind": "fullsubnet", "residual": 3}, "Extra inputs"),
        ({"kind": "band-tcn", "channels": 7}, "multiple of 2"),
        ({"kind": "fast-fullsubnet", "bands": 9}, "9 bands are not a multiple of the stride 2"),
        ({"kind": "fullsubnet", "feature": "compressed_complex"}, "'compressed_magnitude'"),
        ({"kind": "tcn-hybrid", "sub": []}, "at least 1 item"),
        ({"kind": "fullsubnet", "reach": 257}, "reach 257 is beyond the other 256 of 257 bands"),
        ({"kind": "tcn-hybrid", "n_fft": 16, "hop": 8}, "reach 15 is beyond the other 8 of 9"),
        ({"kind": "fast-fullsubnet", "bands": 4}, "reach 5 is beyond the other 3 of 4 bands"),
    ],
)
def test_networks_that_cannot_be(table: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Table.model_validate({"model": table})


def test_neighbours_may_be_all_other_bands() -> None:
    widest = Fast(kind="fast-fullsubnet", bands=4, reach=3).build(RATE).neighbours
    assert widest.tolist()[0] == [3, 2, 1, 0, 1, 2, 3]


def test_no_memory_means_all_of_the_past() -> None:
    made = [Published(kind="fullsubnet", memory=m, sub=(2,)).build(RATE) for m in (0, 9)]
    assert [net.memory for net in made] == [None, 9]


def test_no_two_kinds_share_the_key_of_a_stage() -> None:
    """Which is of the settings that are not left at their defaults."""
    kinds = ("tcn", "band-tcn", "fullsubnet", "fast-fullsubnet", "tcn-hybrid")
    tables = [
        str(Table.model_validate({"model": {"kind": kind}}).model.model_dump(exclude_defaults=True))
        for kind in kinds
    ]
    assert len(set(tables)) == len(kinds)


def half_a_minute() -> NDArray[np.float32]:
    """Noise whose loudness jumps twice a second."""
    random = np.random.default_rng(0)
    loudness = np.repeat(random.random(60), RATE // 2)
    return (0.1 * loudness * random.standard_normal(30 * RATE)).astype(np.float32)


@torch.no_grad()
def offline(
    net: MaskNet, front: SpectrumInput, samples: NDArray[np.float32]
) -> NDArray[np.float32]:
    """[n] → [n], by torch on the whole recording."""
    end = FrontEnd(front)
    spectrum = end.analyse(torch.from_numpy(samples)[None])
    masked = end.masked(spectrum, net(end.feature(spectrum)))
    enhanced: NDArray[np.float32] = end.synthesise(masked, len(samples))[0].numpy()
    return enhanced


@pytest.mark.parametrize(
    "model",
    [
        Tcn(residual=8, hidden=12, dilations=(1, 4), lookahead=1, mask="complex"),
        Bands(kind="band-tcn", channels=4, hidden=6, taken=2, mixed=8, dilations=(1, 4), memory=20),
        Published(kind="fullsubnet", full=(8,), sub=(6, 5), reach=2, mask="complex"),
        Fast(
            kind="fast-fullsubnet",
            bands=16,
            encoder=(12,),
            sub=(10, 8),
            decoder=(14,),
            reach=2,
            mask="complex",
        ),
        Hybrid(
            kind="tcn-hybrid",
            hidden=12,
            dilations=(1, 5),
            sub=(6,),
            reach=2,
            lookahead=1,
            memory=20,
        ),
    ],
    ids=lambda model: model.kind,
)
def test_half_a_minute_on_the_device_is_what_was_trained(model: Network, tmp_path: Path) -> None:
    """Torch on the whole recording; TFLite with the device's states frame by frame."""
    torch.manual_seed(0)
    net = lively(model.build(RATE))
    net.train()(torch.rand(2, 257, 40))  # BatchNorm has statistics
    nn.init.normal_(net.answer.get_parameter("weight"))
    stream = net.eval().stream()
    states = stream.states
    names = ["frame", *(state.spec.input for state in states)]
    values = [torch.rand(1, 257), *stream.start()]
    front = mask_networks.front_end(model, RATE)
    folder = bundles._write(
        tmp_path / model.kind,
        stream,
        "enhance",
        [{name: value.numpy() for name, value in zip(names, values, strict=True)}],
        ("mask", *(state.spec.output for state in states)),
        front,
        states=tuple(state.spec for state in states),
    )
    assert nodes(folder / bundle.MODEL) < 150
    enhancer, samples = StreamEnhancer(bundle.load(folder), anew=False), half_a_minute()
    assert enhancer.latency == 512 + 256 * net.lookahead
    expected = offline(net, front, samples)
    np.testing.assert_allclose(enhancer.enhance(samples), expected, atol=1e-4)
    assert np.abs(expected - samples).max() > 0.01
