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
    """This machine's signing key; made on first use. Its public half is kept beside it.

    Raises:
        BadInputError: the key file is damaged.
    """
    folder = folder or user_keys()
    private, public = folder / "signing.key", folder / "signing.pub"
    if not private.exists():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        files.write_once(private, _line(Ed25519PrivateKey.generate().private_bytes_raw()))
    key = _private_key(private)  # as it is on disk: another run may have been first
    line = _line(key.public_key().public_bytes_raw())
    if not public.exists() or public.read_bytes() != line:
        files.write_bytes(public, line)
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


def _private_key(path: Path) -> Ed25519PrivateKey:
    try:
        raw = base64.b64decode(path.read_text().strip(), validate=True)
        return Ed25519PrivateKey.from_private_bytes(raw)
    except ValueError as error:
        raise BadInputError(
            f"{path}: not an Ed25519 key in base64: restore it, or delete it to get a new one"
        ) from error


def _line(key: bytes) -> bytes:
    """What a key file holds."""
    return base64.b64encode(key) + b"\n"
