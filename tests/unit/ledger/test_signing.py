"""Keys: who signed, where the private half lives, and who may read it."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import pytest

from headgate.errors import Fault, InputError, Refused
from headgate.ledger.signing import PublicKey, SigningKey, users_key

# The example of C2SP's signed-note, as golang.org/x/mod/sumdb/note has it too.
EXAMPLE = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user's key is made, in a configuration directory of this test's own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "headgate" / "signing-key.pem"


def test_what_was_signed_verifies_and_nothing_else() -> None:
    """Another message, another key and a flipped bit do not."""
    key = SigningKey.generate()
    signature = key.sign(b"accept")
    assert len(signature) == 64
    assert key.public.verify(b"accept", signature)
    assert not key.public.verify(b"reject", signature)
    assert not SigningKey.generate().public.verify(b"accept", signature)
    assert not key.public.verify(b"accept", bytes([signature[0] ^ 1]) + signature[1:])
    assert not key.public.verify(b"accept", b"")


def test_a_public_key_is_written_as_signed_notes_write_it() -> None:
    """Go's own example is read, its key id is the one that Go calculates, and it is written so."""
    key = PublicKey.parse(EXAMPLE + "\n")
    assert (key.name, key.key_id, len(key.raw)) == ("PeterNeumann", "c74f20a3", 32)
    assert str(key) == EXAMPLE
    own = SigningKey.generate().public
    assert PublicKey.parse(str(own)) == own
    assert own.name == "headgate"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "headgate",
        "headgate+c74f20a3",
        EXAMPLE.replace("c74f20a3", "c74f20a4"),
        EXAMPLE.replace("PeterNeumann", "PeterNewman"),
        EXAMPLE.replace("+ARpc", "+ARpd"),
        EXAMPLE.replace("+ARpc", "+AR?c"),
        EXAMPLE[:-4],
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA",
    ],
)
def test_what_is_no_public_key_is_refused(text: str) -> None:
    """A key with a wrong digit is told at once: its id is a checksum too."""
    with pytest.raises(InputError, match="no public key") as caught:
        PublicKey.parse(text)
    assert caught.value.reason == "key_malformed"


def test_the_users_key_is_made_once_for_its_owner_alone(path: Path) -> None:
    """The first use makes it and says where; later ones find it. Nobody else may read it."""
    first, made = users_key()
    assert made == path
    again, made_again = users_key()
    assert made_again is None
    assert again.public == first.public
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_of_many_who_make_the_first_key_all_sign_with_the_same(path: Path) -> None:
    """Eight at once: one key is made, and nobody overwrites it."""
    found: list[PublicKey] = []
    together = threading.Barrier(8)

    def first_use() -> None:
        together.wait()
        found.append(users_key()[0].public)

    threads = [threading.Thread(target=first_use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert set(found) == {SigningKey.read(path).public}


def test_openssl_and_this_read_each_others_keys(path: Path) -> None:
    """The file is PKCS 8 in PEM, which other tools that sign take as it is."""
    key, _ = users_key()
    said = subprocess.run(
        ["openssl", "pkey", "-in", str(path), "-pubout", "-outform", "DER"],
        capture_output=True,
        check=True,
    )
    assert said.stdout[-32:] == key.public.raw
    other = path.with_name("other.pem")
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(other)], check=True)
    other.chmod(0o600)
    assert SigningKey.read(other).public != key.public


def test_a_key_that_the_environment_names_is_used_and_never_made(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelt path is an error and not a new signer."""
    named = tmp_path / "ci.pem"
    monkeypatch.setenv("HEADGATE_KEY", str(named))
    with pytest.raises(InputError, match="No such file") as caught:
        users_key()
    assert (caught.value.reason, caught.value.where) == ("key_missing", str(named))
    key = SigningKey.generate()
    assert key.write(named)
    assert users_key()[0].public == key.public
    assert not path.exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_may_read_is_refused(path: Path, mode: int) -> None:
    """The message names the file and the cure."""
    users_key()
    path.chmod(mode)
    with pytest.raises(Refused, match="others than its owner") as caught:
        users_key()
    assert caught.value.reason == "key_exposed"
    assert f"chmod 600 {path}" in str(caught.value)


def test_what_is_no_key_is_refused(path: Path) -> None:
    """Text, and a key of another kind or with a password."""
    users_key()
    contents = [b"not a key"]
    for arguments in (["-algorithm", "X25519"], ["-algorithm", "ed25519", "-aes256"]):
        command = ["openssl", "genpkey", *arguments, "-pass", "pass:x"]
        contents.append(subprocess.run(command, capture_output=True, check=True).stdout)
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(InputError, match="no Ed25519 key") as caught:
            users_key()
        assert caught.value.reason == "key_malformed"


def test_a_home_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a file stands in the directory's place: a Fault, and nothing half-made."""
    (tmp_path / "config").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with pytest.raises(Fault, match="keep a signing key"):
        users_key()


def test_a_user_without_a_home_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose user is only a number."""

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(Fault, match="no home directory") as caught:
        users_key()
    assert "HEADGATE_KEY" in str(caught.value)
