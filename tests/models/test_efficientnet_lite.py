"""EfficientNet-Lite0 against the published implementation and weights."""

import pytest
import torch

from models.efficientnet_lite import EfficientNetLite0, imagenet_weights, load_imagenet


def test_logits_are_the_published_implementations() -> None:
    published = pytest.importorskip("efficientnet_lite_pytorch", reason="the oracle is optional")
    oracle = published.EfficientNet.from_name("efficientnet-lite0")
    oracle.load_state_dict(torch.load(imagenet_weights(), weights_only=True))
    net = EfficientNetLite0(1000)
    load_imagenet(net)
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(net.eval()(x), oracle.eval()(x), atol=1e-4)


def test_a_classifier_of_another_size_keeps_its_own_weights() -> None:
    net = EfficientNetLite0(7)
    before = net.classifier.weight.detach().clone()
    load_imagenet(net)
    assert torch.equal(net.classifier.weight, before)
    published = torch.load(imagenet_weights(), weights_only=True)
    assert torch.equal(net.stem.get_submodule("conv").weight, published["_conv_stem.weight"])
