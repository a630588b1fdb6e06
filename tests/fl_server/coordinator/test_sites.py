"""Admission of sites by their keys, and permanent revocation."""

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from fl_server.coordinator.coordinator_folder import CoordinatorFolder
from fl_server.coordinator.sites import Sites, read_public_key
from operation.errors import OperationError
from tests.fl_server.coordinator.support import make_key


@pytest.fixture
def sites(tmp_path: Path) -> Sites:
    return Sites(CoordinatorFolder(tmp_path))


def test_sites_take_part_in_the_order_of_their_names_until_revoked(sites: Sites) -> None:
    for name in ("c", "a", "b"):
        sites.admit(name, f"key of {name}")
    sites.revoke("b")
    assert list(sites.active()) == ["a", "c"]
    assert [site.name for site in sites.all()] == ["c", "a", "b"]


def test_nobody_is_admitted_at_first(sites: Sites) -> None:
    assert sites.active() == {}


@pytest.mark.parametrize("revoked", [False, True])
@pytest.mark.parametrize("name", ["hospital-a", "Hospital-A"])
def test_a_name_is_given_once(name: str, revoked: bool, sites: Sites) -> None:
    """Names that differ in case only would be one folder on some machines."""
    sites.admit("hospital-a", "one key")
    if revoked:
        sites.revoke("hospital-a")
    with pytest.raises(OperationError, match=f"--name {name}: is taken"):
        sites.admit(name, "another key")


@pytest.mark.parametrize("revoked", [False, True])
def test_a_key_is_one_sites(revoked: bool, sites: Sites) -> None:
    sites.admit("hospital-a", "one key")
    if revoked:
        sites.revoke("hospital-a")
    with pytest.raises(OperationError, match="this key is that of hospital-a"):
        sites.admit("hospital-b", "one key")


@pytest.mark.parametrize("name", ["", "a b", "a/b", "../a", "ä", "a\n", "x" * 64])
def test_names_are_plain(name: str, sites: Sites) -> None:
    with pytest.raises(OperationError, match=r"--name .*: allowed are letters, digits, - and _"):
        sites.admit(name, "key")


def test_only_who_is_admitted_is_revoked(sites: Sites) -> None:
    sites.admit("hospital-a", "key")
    with pytest.raises(OperationError, match="hospital-b: no such site; did you mean hospital-a"):
        sites.revoke("hospital-b")
    sites.revoke("hospital-a")
    with pytest.raises(OperationError, match="hospital-a: was revoked already"):
        sites.revoke("hospital-a")


def test_a_damaged_list_is_said(sites: Sites, tmp_path: Path) -> None:
    (tmp_path / "sites.json").write_text('{"sites": [{"name": "a"}]}')
    with pytest.raises(OperationError, match=r"sites.json: is damaged, or was written by"):
        sites.all()


def test_a_public_key_is_read_without_its_comment(tmp_path: Path) -> None:
    public = make_key(tmp_path / "site.key")
    (tmp_path / "site.pub").write_text(f"{public} hospital-a\n")
    assert read_public_key(tmp_path / "site.pub") == public


def test_a_private_key_is_sent_back_unread(tmp_path: Path) -> None:
    make_key(tmp_path / "site.key")
    with pytest.raises(OperationError, match="is a private key, which must never leave its site"):
        read_public_key(tmp_path / "site.key")


def test_other_keys_and_files_are_refused(tmp_path: Path) -> None:
    """Flower takes keys on NIST curves only."""
    openssh = (serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    wrong = {
        "ed25519": ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(*openssh),
        "pem": ec.generate_private_key(ec.SECP384R1())
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        "text": b"Dear coordinator, here is our key.",
        "empty": b"",
    }
    for name, content in wrong.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(OperationError, match=f"{name}: is not an EC public key"):
            read_public_key(tmp_path / name)
    with pytest.raises(OperationError, match="none: cannot be read"):
        read_public_key(tmp_path / "none")


def test_two_who_admit_at_once_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from fl_server.coordinator.coordinator_folder import CoordinatorFolder\n"
        "from fl_server.coordinator.sites import Sites\n"
        "sites = Sites(CoordinatorFolder(Path(sys.argv[1])))\n"
        "for i in range(10): sites.admit(f'{sys.argv[2]}-{i}', f'{sys.argv[2]} {i}')\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, tmp_path, name]) for name in "ab"]
    assert [process.wait(60) for process in both] == [0, 0]
    assert len(Sites(CoordinatorFolder(tmp_path)).active()) == 20
