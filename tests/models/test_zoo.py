"""The bundles that travel with the repository: trusted by its own keys, running, small."""

import tomllib
from pathlib import Path

import pytest

from compress import quantization
from device import bundle, signing

ZOO = Path(__file__).parents[2] / "models" / "zoo"
BUNDLES = sorted(path.parent.name for path in ZOO.glob("*/manifest.json"))
STORED = {"static-int8": "INT8", "dynamic-int8": "INT8", "fp16": "FLOAT16"}  # weights by scheme
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


@pytest.mark.parametrize("name", ["birds", "birds-fast"])
def test_the_classifier_knows_the_species_the_finch_and_the_empty_feeder(name: str) -> None:
    labels = bundle.read(ZOO / name).labels
    assert len(labels) == 102
    assert {"Blue_Jay", "Zebra_Finch", "background"} <= set(labels)


def test_the_fast_classifier_is_small_and_all_integers() -> None:
    """Its own baseline, as large as `birds-baseline` and as good, does not travel with it."""
    fast = bundle.read(ZOO / "birds-fast").manifest
    assert fast.inputs[0].shape == (1, 160, 160, 3) and fast.result.bytes < 2e6
    assert fast.result.macs < 0.6 * bundle.read(ZOO / "birds").manifest.result.macs
    quantization.check(ZOO / "birds-fast" / bundle.MODEL, quantization.SCHEMES["static-int8"])
