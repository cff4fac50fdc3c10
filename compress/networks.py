"""[model]: the image classifiers a recipe can name, each with its table and how it is built."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from torch import nn

from device.errors import first_problem
from device.manifest import Frozen
from models.alexnet import AlexNet
from models.densenet import DenseNet
from models.efficientnet_lite import EfficientNetLite0, load_imagenet
from models.enas import Architecture, Enas
from models.googlenet import GoogLeNet
from models.resnet import ResNet
from models.resnet_large import ResNetLarge
from models.vgg import VGG16


class ResNetTable(Frozen):
    """ResNet for small images: 6n + 2 layers."""

    kind: Literal["resnet"]
    depth: Literal[8, 14, 20, 26, 32, 44, 56]
    width: int = Field(16, gt=0)
    stride: Literal[1, 2] = 1
    size: int = Field(gt=0, multiple_of=8, description="deployed input, pixels")
    train_size: int = Field(gt=0, multiple_of=8, description="training views, pixels")

    def build(self, classes: int) -> nn.Module:
        """Freshly initialised."""
        return ResNet(self.depth, classes, self.width, self.stride)


class LiteTable(Frozen):
    """EfficientNet-Lite0, from ImageNet weights."""

    kind: Literal["efficientnet-lite0"]
    size: int = Field(gt=0, multiple_of=32, description="deployed input, pixels")
    train_size: int = Field(gt=0, multiple_of=32, description="training views, pixels")
    dropout: float = Field(0.2, ge=0, lt=1)

    def build(self, classes: int) -> nn.Module:
        """With published weights, but for the classifier."""
        net = EfficientNetLite0(classes, self.dropout)
        load_imagenet(net)
        return net


class LargeTable(Frozen):
    """ResNet as for ImageNet, with a stem for small images."""

    kind: Literal["resnet-large"]
    depth: Literal[18, 34, 50]
    width: int = Field(64, gt=0, multiple_of=4)
    size: int = Field(gt=0, multiple_of=8, description="deployed input, pixels")
    train_size: int = Field(gt=0, multiple_of=8, description="training views, pixels")

    def build(self, classes: int) -> nn.Module:
        """Freshly initialised."""
        return ResNetLarge(self.depth, classes, self.width)


class PlainTable(Frozen):
    """What the tables of networks for small images share that are known by their names alone."""

    width: int = Field(64, gt=0, multiple_of=8)
    size: int = Field(gt=0, multiple_of=32, description="deployed input, pixels")
    train_size: int = Field(gt=0, multiple_of=32, description="training views, pixels")


class VGGTable(PlainTable):
    """VGG-16 for small images, with batch norms."""

    kind: Literal["vgg16"]

    def build(self, classes: int) -> nn.Module:
        """Freshly initialised."""
        return VGG16(classes, self.width)


class AlexNetTable(PlainTable):
    """AlexNet for small images."""

    kind: Literal["alexnet"]

    def build(self, classes: int) -> nn.Module:
        """Freshly initialised."""
        return AlexNet(classes, self.width)


class GoogLeNetTable(PlainTable):
    """GoogLeNet for small images."""

    kind: Literal["googlenet"]

    def build(self, classes: int) -> nn.Module:
        """Freshly initialised."""
        return GoogLeNet(classes, self.width)


class DenseNetTable(Frozen):
    """DenseNet for small images."""

    kind: Literal["densenet"]
    depth: Literal[121] = 121
    growth: int = Field(32, gt=0)
    size: int = Field(gt=0, multiple_of=8, description="deployed input, pixels")
    train_size: int = Field(gt=0, multiple_of=8, description="training views, pixels")

    def build(self, classes: int) -> nn.Module:
        """Freshly initialised."""
        return DenseNet(self.depth, classes, self.growth)


def _read(value: Any) -> Any:
    """An architecture from its JSON file, as a search writes it, or as it stands."""
    if not isinstance(value, str):
        return value
    try:
        return Architecture.model_validate_json(Path(value).read_bytes())
    except OSError as error:
        raise ValueError(f"{value}: no such architecture: {error.strerror}") from error
    except ValidationError as error:  # pydantic's own line would not name the file
        raise ValueError(f"{value}: {first_problem(error)}") from error


class EnasTable(Frozen):
    """ENAS micro search space: the space itself for [search], or a child of it."""

    kind: Literal["enas"]
    filters: int = Field(gt=0, multiple_of=2, description="F, of the first cells")
    layers: int = Field(gt=0, description="L, normal cells")
    nodes: int = Field(5, gt=0, description="of a cell")
    architecture: Annotated[Architecture | None, BeforeValidator(_read)] = Field(
        None, description="path of a search's architecture.json"
    )
    drop_path: float = Field(0.0, ge=0, lt=1, description="probability at the last layer")
    dropout: float = Field(0.0, ge=0, lt=1, description="in front of the classifier")
    size: int = Field(gt=0, multiple_of=4, description="deployed input, pixels")
    train_size: int = Field(gt=0, multiple_of=4, description="training views, pixels")

    @model_validator(mode="after")
    def _as_many_nodes(self) -> Self:
        found = self.architecture
        if found is not None and len(found.normal.nodes) != self.nodes:
            raise ValueError(
                f"nodes = {self.nodes}, but the architecture has {len(found.normal.nodes)}"
            )
        return self

    def build(self, classes: int) -> nn.Module:
        """Freshly initialised."""
        return Enas(
            classes,
            self.filters,
            self.layers,
            self.nodes,
            self.architecture,
            drop_path=self.drop_path,
            dropout=self.dropout,
        )


Network = Annotated[
    ResNetTable
    | LiteTable
    | LargeTable
    | VGGTable
    | AlexNetTable
    | GoogLeNetTable
    | DenseNetTable
    | EnasTable,
    Field(discriminator="kind"),
]
