"""Weights to go on from: found, loaded, told apart, and refused when they are not a network's."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from compress import recipe, start
from device.errors import BadInputError
from models.tcn_bands import BandTCN


def test_the_users_file_wins_and_a_missing_one_is_named(tmp_path: Path) -> None:
    assert start.find(None, (tmp_path,)) is None
    shipped = start.find("enhancer-bands.safetensors", (tmp_path,))
    assert shipped is not None and shipped.parent == start.SHIPPED
    (tmp_path / shipped.name).touch()
    assert start.find(shipped.name, (tmp_path,)) == tmp_path / shipped.name
    with pytest.raises(BadInputError, match=r"no mine\.safetensors in .*model\.start"):
        start.find("mine.safetensors", (tmp_path,))


def test_only_the_same_networks_weights_are_loaded(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    path.write_bytes(b"not weights")
    with pytest.raises(BadInputError, match="no weights in safetensors form"):
        start.load(nn.Linear(3, 2), path)
    source = nn.Linear(3, 2)
    save_file(source.state_dict(), path)
    with pytest.raises(BadInputError, match=r"another network: weight is \[2, 3\] and \[2, 4\]"):
        start.load(nn.Linear(4, 2), path)
    with pytest.raises(BadInputError, match=r"another network: bias is \[2\] and none"):
        start.load(nn.Linear(3, 2, bias=False), path)
    target = nn.Linear(3, 2)
    start.load(target, path)
    torch.testing.assert_close(target.weight, source.weight, rtol=0, atol=0)


def test_a_narrower_networks_weights_are_widened_where_the_network_can_grow(tmp_path: Path) -> None:
    path = tmp_path / "narrow.safetensors"
    save_file(BandTCN(4, 6, 2, 4).state_dict(), path)
    wide = BandTCN(4, 8, 2, 5, taps=4)
    start.load(wide, path)
    assert (wide.blocks[0].squeeze.weight[:, 6:] == 0).all()
    for other in (BandTCN(4, 5, 2, 4), BandTCN(6, 6, 2, 4), BandTCN(4, 6, 3, 4)):
        with pytest.raises(BadInputError, match="another network"):
            start.load(other, path)


@pytest.mark.parametrize("path", sorted(start.SHIPPED.glob("*.safetensors")), ids=lambda p: p.stem)
def test_shipped_weights_are_of_the_recipe_they_are_listed_under(path: Path) -> None:
    """File names are a recipe's, and a number of epochs."""
    assert f"`{path.name}`" in (start.SHIPPED / "README.md").read_text()
    name = path.stem.rstrip("0123456789").rstrip("-")
    net = recipe.load(name).settings.model.build(16_000)  # type: ignore[attr-defined]
    before = copy.deepcopy(net.state_dict())
    start.load(net, path)
    assert all(not torch.equal(net.state_dict()[key], old) for key, old in before.items())


def test_other_weights_or_other_data_have_another_fingerprint(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    prints = {start.fingerprint(data, path) for data in ("a", "b") for path in (one, two)}
    assert len(prints) == 4
    assert start.fingerprint("a", one) in prints
