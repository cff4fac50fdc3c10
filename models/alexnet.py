"""AlexNet for small images.

A. Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014, in the form
github.com/bearpaw/pytorch-classification uses for CIFAR-10 (published there as 2.47 M): the stem
padded by 5, pools of 2 × 2, one linear layer, no norm. 2,472,266 parameters, 15.0 M
multiply-accumulates on 32 × 32 with 10 classes. Without norms it wants a learning rate near 0.01.
"""

from torch import Tensor, nn


class AlexNet(nn.Module):
    """[batch, 3, H, W] → logits [batch, classes]; H and W multiples of 32."""

    def __init__(self, classes: int, width: int = 64) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, width, 11, stride=4, padding=5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 3 * width, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(3 * width, 6 * width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(6 * width, 4 * width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(4 * width, 4 * width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits
