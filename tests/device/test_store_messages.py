"""Messages about a bundle that is being installed name what the user named."""

from pathlib import Path

import pytest

from device.errors import BadInputError
from device.signing import Policy
from device.store import Store
from tests.device.test_store import tarred


@pytest.mark.parametrize("archived", [True, False])
def test_what_is_wrong_is_said_of_the_source(
    tmp_path: Path, classifier: Path, archived: bool
) -> None:
    """The folder it was unpacked into is nothing the user knows, and gone."""
    home = Store(tmp_path / "store", Policy.REQUIRED)
    (classifier / "model.tflite").write_bytes(b"damaged")
    source = tarred(classifier) if archived else classifier
    part = f"{source}: model.tflite" if archived else str(source / "model.tflite")
    with pytest.raises(BadInputError) as damaged:
        home.install(source)
    assert str(damaged.value).startswith(f"{part}: differs from its hash")

    (classifier / "manifest.json").unlink()
    source = tarred(classifier) if archived else classifier
    with pytest.raises(BadInputError) as empty:
        home.install(source)
    assert str(empty.value).startswith(f"{source}: not a bundle: it has no readable manifest.json")


def test_a_warning_names_the_source(
    tmp_path: Path, classifier: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (classifier / "manifest.json.sig").unlink()
    source = tarred(classifier)
    Store(tmp_path / "store", Policy.WARN).install(source)
    assert caplog.messages == [f"{source}: no trusted key signed this bundle"]
    Store(tmp_path / "other", Policy.OFF).install(source)
    assert len(caplog.messages) == 1
