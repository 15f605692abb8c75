"""Ed25519 keys: who says so. The private key lives outside every store, the public one is a line.

A public key is written as C2SP's signed notes write it (https://c2sp.org/signed-note):
``NAME+KEYID+BASE64``, where the key id is the first four bytes of ``SHA-256(NAME || 0x0A || 0x01 ||
key)`` in hex and the base64 is of ``0x01 || key``. The private key is PKCS 8 in PEM, which
``openssl genpkey -algorithm ed25519`` makes too, and which nobody but its owner may read.

Knows nothing of what is signed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from headgate.errors import Fault, InputError, Refused

__all__ = ["KEY_VARIABLE", "PublicKey", "SigningKey", "users_key", "users_key_file"]

KEY_VARIABLE = "HEADGATE_KEY"
"""The environment variable that names another key file."""

_NAME = "headgate"
_ED25519 = b"\x01"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_MAKE = "(umask 077; openssl genpkey -algorithm ed25519 -out FILE)"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What a signature is checked with."""

    name: str
    """Without spaces and ``+``."""
    raw: bytes
    """32 bytes (RFC 8032)."""

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """The key that ``str`` wrote. Raises ``InputError`` (``key_malformed``)."""
        # The base64 may hold a + of its own.
        name, id_, encoded = [*text.strip().split("+", 2), "", ""][:3]
        try:
            raw = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        key = cls(name, raw[1:])
        if not name or len(raw) != 33 or raw[:1] != _ED25519 or key.key_id != id_:
            raise InputError(
                # Of a private key that was given in error the first line is no secret.
                f"{text.strip().partition(chr(10))[0][:100]!r} is no public key",
                reason="key_malformed",
                fix="give a line like headgate+1a2b3c4d+AQ..., as `headgate checkpoint` prints it",
            )
        return key

    @property
    def key_id(self) -> str:
        """8 hex digits: a name for the key, and no proof of it."""
        hashed = self.name.encode() + b"\n" + _ED25519 + self.raw
        return hashlib.sha256(hashed).hexdigest()[:8]

    @property
    def signer(self) -> str:
        """The key, for people and as a hint which key it was: ``headgate+1a2b3c4d``."""
        return f"{self.name}+{self.key_id}"

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether the owner of this key signed ``message``."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def __str__(self) -> str:
        return f"{self.signer}+{base64.b64encode(_ED25519 + self.raw).decode()}"


class SigningKey:
    """A private key, which never leaves this object but into its own file."""

    def __init__(self, private: Ed25519PrivateKey, path: Path | None = None) -> None:
        self._private = private
        self.path = path
        """Its file, beside which what it signed is remembered; None where it is in none."""
        self.public = PublicKey(_NAME, private.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> SigningKey:
        """A new one."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def read(cls, path: Path) -> SigningKey:
        """The key in the file at ``path``.

        Raises ``InputError`` where there is none (``key_missing``) or something else
        (``key_malformed``), ``Refused`` (``key_exposed``) where others may read it.
        """
        try:
            with path.open("rb") as file:
                exposed = os.fstat(file.fileno()).st_mode & _OTHERS
                content = file.read()
        except OSError as error:
            raise InputError(
                f"the signing key cannot be read: {os.strerror(error.errno or 0)}",
                where=str(path),
                reason="key_missing",
                fix=f"put it there, unset {KEY_VARIABLE}, or make one: {_MAKE}",
            ) from error
        if exposed:
            raise Refused(
                "others than its owner may use this signing key",
                where=str(path),
                reason="key_exposed",
                fix=f"chmod 600 {path}; if somebody may have read it, make another key",
            )
        try:
            private = load_pem_private_key(content, password=None)
        except (ValueError, TypeError):  # TypeError: it has a password
            private = None
        if not isinstance(private, Ed25519PrivateKey):
            raise InputError(
                "is no Ed25519 key in PEM without a password",
                where=str(path),
                reason="key_malformed",
                fix=f"make one: {_MAKE}",
            )
        return cls(private, path)

    def write(self, path: Path) -> bool:
        """Keep it at ``path``, for its owner alone; False where a key was there already.

        Raises ``Fault`` where the disk refuses.
        """
        content = self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.NamedTemporaryFile(dir=path.parent) as file:  # mode 0600
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                # Unlike a rename, a link never takes the place of another's key.
                path.hardlink_to(file.name)
        except OSError as error:
            if path.is_file():
                return False
            raise Fault(
                f"cannot keep a signing key: {os.strerror(error.errno or 0)}",
                where=str(path),
                reason="disk",
                fix=f"make its directory writable, or make a key elsewhere and name it with "
                f"{KEY_VARIABLE}: {_MAKE}",
            ) from error
        self.path = path
        return True

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of RFC 8032."""
        return self._private.sign(message)


def users_key_file() -> Path:
    """Where the key of who runs this process is, or is made on first use.

    The file that ``HEADGATE_KEY`` names, otherwise ``headgate/signing-key.pem`` under
    ``XDG_CONFIG_HOME`` or ``~/.config``. Raises ``Fault`` where there is no home.
    """
    if named := os.environ.get(KEY_VARIABLE):
        return Path(named)
    try:
        config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    except RuntimeError:
        raise Fault(
            "there is no home directory to keep a signing key in",
            reason="disk",
            fix=f"make a key and name its file with {KEY_VARIABLE}: {_MAKE}",
        ) from None
    return config / "headgate" / "signing-key.pem"


def users_key() -> tuple[SigningKey, Path | None]:
    """The key in ``users_key_file``, made on first use; where it was made, if it just was.

    One that ``HEADGATE_KEY`` names is never made. Raises ``InputError`` and ``Refused`` as
    ``SigningKey.read`` does, ``Fault`` where none can be kept.
    """
    path = users_key_file()
    if os.environ.get(KEY_VARIABLE):
        return SigningKey.read(path), None
    made = not path.exists() and SigningKey.generate().write(path)
    return SigningKey.read(path), path if made else None
