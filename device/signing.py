"""Ed25519 signatures over a manifest, and the keys this machine trusts.

A key file holds one line: the raw 32-byte key in base64. Public keys end in `.pub`. Trusted are
the keys that come with the package (device/keys) and the user's own
($XDG_CONFIG_HOME/fieldwren/keys), where `make compress` also keeps its private key.
"""

import base64
import os
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from device import files
from device.errors import BadInputError

PACKAGE_KEYS = Path(__file__).parent / "keys"


class Policy(StrEnum):
    """What to do with a bundle that no trusted key signed."""

    REQUIRED = "required"
    WARN = "warn"
    OFF = "off"


def user_keys() -> Path:
    """Where this user's keys live."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "fieldwren" / "keys"


def trusted_keys(folders: Iterable[Path] = ()) -> list[Ed25519PublicKey]:
    """Every public key in the given folders, the user's and the package's."""
    keys = []
    for folder in (*folders, user_keys(), PACKAGE_KEYS):
        for path in sorted(folder.glob("*.pub")):
            try:
                raw = base64.b64decode(path.read_text().strip(), validate=True)
                keys.append(Ed25519PublicKey.from_public_bytes(raw))
            except ValueError as error:
                raise BadInputError(f"{path}: not an Ed25519 public key in base64") from error
    return keys


def own_key(folder: Path | None = None) -> Ed25519PrivateKey:
    """This machine's signing key; made, with its public half beside it, on first use."""
    folder = folder or user_keys()
    path = folder / "signing.key"
    if path.exists():
        return Ed25519PrivateKey.from_private_bytes(base64.b64decode(path.read_text().strip()))
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    key = Ed25519PrivateKey.generate()
    with files.replacing(path) as temporary:
        temporary.write_text(base64.b64encode(key.private_bytes_raw()).decode() + "\n")
    path.chmod(0o600)
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    files.write_bytes(folder / "signing.pub", f"{public}\n".encode())
    return key


def is_trusted(content: bytes, signature: bytes, keys: Iterable[Ed25519PublicKey]) -> bool:
    """Whether one of the keys made this signature over this content."""
    for key in keys:
        try:
            key.verify(signature, content)
        except InvalidSignature:
            continue
        return True
    return False
