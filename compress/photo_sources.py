"""The photos a recipe's [data] names: folders of the user's or of the default data."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from compress import cifar, images
from compress.tasks import locate
from device.manifest import Frozen

DEFAULT = "default:"  # a path beginning so is in the default data's folder, whatever --data says
FORM = f"an ImageFolder ({images.FORM}), or a data folder that is one: train/, test/"


def _named(value: Any) -> Any:
    return {"all": value} if isinstance(value, str) else value


class Sources(Frozen):
    """[data]: where the photos are, relative to the data folder; "default:…" as DEFAULT says."""

    train: tuple[str, ...] = Field(
        min_length=1, description="ImageFolders or patterns of npz shards; classes are merged"
    )
    test: Annotated[dict[str, str], BeforeValidator(_named)] = Field(
        {}, description="the same by name; each gets its own scores beside the common ones"
    )
    validation: float = Field(0.1, gt=0, lt=1, description="share of the training photos")
    batch: int = Field(64, gt=0)
    description: str
    licence: str


def find(
    sources: Sources, folders: tuple[Path, ...]
) -> tuple[Sources, list[Path], dict[str, Path]]:
    """What is said of the photos, where those to learn from are, and by name those of the test.

    `folders` are the user's data folder and the default data's, or the latter alone. A data
    folder that is itself an ImageFolder, with `train/`, replaces the recipe's own paths.

    Raises:
        BadInputError: there is no such folder.
    """
    own = folders[0]
    if (own / "train").is_dir():
        test = {"all": own / "test"} if (own / "test").is_dir() else {}
        origin = {"description": f"own photos: {own.resolve().name}", "licence": "not stated"}
        return sources.model_copy(update=origin), [own / "train"], test
    train = [_find(path, folders) for path in sources.train]
    return sources, train, {name: _find(path, folders) for name, path in sources.test.items()}


def _find(path: str, folders: tuple[Path, ...]) -> Path:
    if path.startswith(DEFAULT):
        return _locate(path.removeprefix(DEFAULT), folders[-1])
    return _locate(path, folders[0])


def _locate(path: str, folder: Path) -> Path:
    if path.endswith(images.SHARDS):
        cifar.shards(folder / path)
        return folder / path
    return locate(path, (folder,), FORM)
