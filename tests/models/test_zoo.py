"""The bundles that travel with the repository: trusted by its own keys, running, small."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pydantic import TypeAdapter
from safetensors.torch import load_file

from compress import mask_networks, quantization
from compress.defaults import default_data
from compress.mask_networks import Network
from compress.nodes import nodes
from compress.speech_metrics import si_sdr
from device import bundle, signing
from device.enhancer import StreamEnhancer
from device.errors import BadInputError
from scripts.level_steps import beginning
from tests.compress.test_mask_networks import RATE, half_a_minute, offline

ZOO = Path(__file__).parents[2] / "models" / "zoo"
BUNDLES = sorted(path.parent.name for path in ZOO.glob("*/manifest.json"))
STORED = {"static-int8": "INT8", "dynamic-int8": "INT8", "fp16": "FLOAT16"}  # weights by scheme
NODES = {
    "enhancer-bands": 98,
    "enhancer-bands-baseline": 98,
    "enhancer-fullsubnet": 125,
    "enhancer-fullsubnet-baseline": 125,
    "enhancer-tcn": 87,
    "enhancer-tcn-baseline": 87,
}
PAIRS = sorted(name for name in BUNDLES if f"{name}-baseline" in BUNDLES)


@pytest.mark.parametrize("name", BUNDLES)
def test_every_bundle_is_signed_by_the_zoos_key_and_reproduces_its_answers(name: str) -> None:
    # the tests' own key folder is empty (tests/conftest.py): trust comes from device/keys alone
    loaded = bundle.load(ZOO / name, policy=signing.Policy.REQUIRED)
    assert loaded.bundle.signed
    assert loaded.bundle.manifest.name == name


@pytest.mark.parametrize("name", PAIRS)
def test_the_compressed_one_is_smaller_and_descends_from_the_baseline(name: str) -> None:
    base = bundle.read(ZOO / f"{name}-baseline").manifest
    small = bundle.read(ZOO / name).manifest
    assert small.parent == base.files[bundle.MODEL]
    assert small.baseline == base.result
    assert small.result.bytes < 0.3 * base.result.bytes
    assert small.result.parameters < base.result.parameters
    scheme = tomllib.loads(small.recipe)["steps"][-1]["scheme"]
    found = quantization.check(ZOO / name / bundle.MODEL, quantization.SCHEMES[scheme])
    weighted = sum(found.operators.get(kind, 0) for kind in quantization.WEIGHTED)
    assert found.weights == {STORED[scheme]: weighted}


def test_the_classifier_knows_the_species_the_finch_and_the_empty_feeder() -> None:
    labels = bundle.read(ZOO / "birds").labels
    assert len(labels) == 102
    assert {"Blue_Jay", "Zebra_Finch", "background"} <= set(labels)


def test_the_classifier_is_small_in_every_way() -> None:
    small = bundle.read(ZOO / "birds").manifest
    assert small.inputs[0].shape == (1, 160, 160, 3)
    assert small.result.bytes < 2e6 and small.result.macs < 1e8


@pytest.mark.parametrize("name", [name for name in BUNDLES if name.startswith("enhancer-")])
def test_an_enhancer_is_not_of_more_nodes_than_it_was(name: str) -> None:
    assert nodes(ZOO / name / bundle.MODEL) <= NODES[name]


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("enhancer-bands-baseline", "enhancer-bands-85"),
        ("enhancer-fullsubnet-baseline", "enhancer-fullsubnet-48"),
    ],
)
def test_half_a_minute_of_a_baseline_is_that_of_its_weights(name: str, weights: str) -> None:
    """Torch on the whole recording; the bundle frame by frame."""
    loaded = bundle.load(ZOO / name)
    table = tomllib.loads(loaded.bundle.manifest.recipe)["model"]
    model = TypeAdapter[Network](Network).validate_python(table)
    net = model.build(RATE)
    net.load_state_dict(load_file(ZOO / "weights" / f"{weights}.safetensors"))
    front = mask_networks.front_end(model, RATE)
    assert loaded.bundle.manifest.preprocessing == front
    samples = half_a_minute()
    expected = offline(net.eval(), front, samples)
    enhancer = StreamEnhancer(loaded, anew=False)
    np.testing.assert_allclose(enhancer.enhance(samples), expected, atol=1e-5)
    assert np.abs(expected - samples).max() > 0.01


@pytest.mark.parametrize("name", ["enhancer-bands", "enhancer-fullsubnet", "enhancer-tcn"])
def test_an_enhancer_finds_its_way_back_after_a_quiet_room(name: str) -> None:
    """scripts/level_steps.py has the figures."""
    try:
        demo = default_data() / "demo"
    except BadInputError as missing:
        pytest.skip(f"needs the default data: {missing}")
    noisy = soundfile.read(demo / "speech-noisy-4ch.wav", dtype="float32")[0][:, 0]
    clean = soundfile.read(demo / "speech-clean.wav", dtype="float32")[0]
    quiet = beginning(3, -60, 0)
    enhancer = StreamEnhancer(bundle.load(ZOO / name))
    plain = enhancer.enhance(noisy)
    behind = enhancer.enhance(np.concatenate((quiet, noisy)))[len(quiet) :]
    first, rest = slice(0, 8 * RATE), slice(8 * RATE, None)
    assert si_sdr(behind[first], clean[first]) > si_sdr(noisy[first], clean[first]) + 1.5
    assert si_sdr(behind[rest], clean[rest]) > si_sdr(plain[rest], clean[rest]) - 0.5
