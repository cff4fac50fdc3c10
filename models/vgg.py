"""VGG-16 for small images.

K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
ICLR 2015, configuration D, in the form that CIFAR-10 papers prune: batch norm after every
convolution, one linear layer instead of three. The convolutions keep the biases that batch norm
makes redundant, because the published size counts them: 14,728,266 parameters, 313.2 M
multiply-accumulates on 32 × 32 with 10 classes.
"""

from torch import Tensor, nn

POOL = 0
# channels as multiples of the width
LAYERS = (1, 1, POOL, 2, 2, POOL, 4, 4, 4, POOL, 8, 8, 8, POOL, 8, 8, 8, POOL)


class VGG16(nn.Module):
    """[batch, 3, H, W] → logits [batch, classes]; H and W multiples of 32."""

    def __init__(self, classes: int, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for multiple in LAYERS:
            if multiple == POOL:
                layers.append(nn.MaxPool2d(2))
                continue
            outputs = multiple * width
            layers += [
                nn.Conv2d(inputs, outputs, 3, padding=1),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
            inputs = outputs
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits
