"""The coordinator's folder: its files, their permissions, and messages about a wrong one."""

import stat
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from fl_client.site.invitation import read_invitation
from fl_server.coordinator.bundles import write_bundle
from fl_server.coordinator.coordinator_folder import (
    CoordinatorFolder,
    CoordinatorSettings,
    check_settings,
)
from operation.errors import OperationError

SETTINGS = CoordinatorSettings(host="fed.example.org", port=443, bind="0.0.0.0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> CoordinatorFolder:
    folder = CoordinatorFolder(tmp_path_factory.mktemp("made") / "new" / "coordinator")
    folder.create(SETTINGS)
    return folder


def test_secrets_are_for_their_owner_alone(folder: CoordinatorFolder) -> None:
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    for path in (folder.ca_key, folder.key, folder.secret):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(folder.secret.read_bytes()) == 32


def test_the_invitation_holds_an_address_and_a_certificate_and_no_secret(
    folder: CoordinatorFolder,
) -> None:
    assert {path.name for path in folder.invitation.iterdir()} == {"ca.crt", "invitation.toml"}
    assert (folder.invitation / "ca.crt").read_bytes() == folder.ca_certificate.read_bytes()
    said = tomllib.loads((folder.invitation / "invitation.toml").read_text())
    assert said == {"address": "fed.example.org:443", "version": metadata.version("fedskin")}


def test_after_an_upgrade_the_bundle_brings_the_invitation_along(tmp_path: Path) -> None:
    """A site of the new version refuses an invitation of the old one."""
    folder = CoordinatorFolder(tmp_path / "coordinator")
    folder.create(SETTINGS)
    stated = folder.invitation / "invitation.toml"
    stated.write_text('address = "fed.example.org:443"\nversion = "0.0.9"\n')
    with pytest.raises(OperationError, match=r"of fedskin 0\.0\.9"):
        read_invitation(folder.invitation)
    before = folder.ca_certificate.read_bytes()
    write_bundle(folder)
    assert read_invitation(folder.invitation).address == "fed.example.org:443"
    assert (folder.invitation / "ca.crt").read_bytes() == before


def test_an_address_of_version_six_is_written_in_brackets() -> None:
    assert CoordinatorSettings(host="::1", port=8443, bind="::").address == "[::1]:8443"


def test_the_settings_are_read_back(folder: CoordinatorFolder) -> None:
    assert folder.settings() == SETTINGS


def test_keys_are_never_made_anew(folder: CoordinatorFolder) -> None:
    before = folder.ca_key.read_bytes()
    with pytest.raises(OperationError, match="is already a coordinator's folder"):
        folder.create(SETTINGS)
    assert folder.ca_key.read_bytes() == before


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(OperationError, match="holds other files; choose an empty folder"):
        CoordinatorFolder(tmp_path).create(SETTINGS)


def test_a_folder_of_nobody_is_said(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match=r"is not a coordinator's folder.*coordinator init"):
        CoordinatorFolder(tmp_path).settings()


@pytest.mark.parametrize(
    "text, said",
    [
        ('host = "a"\nport = 1\nbind = "::"\nspeed = 3', "speed: unknown key, or one of another"),
        ('host = "a"\nbind = "::"', "port is missing"),
        ("host = ", "is not a TOML file"),
    ],
)
def test_settings_of_another_version_or_damaged_are_said(
    text: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "coordinator.toml").write_text(text)
    with pytest.raises(OperationError, match=said):
        CoordinatorFolder(tmp_path).settings()


@pytest.mark.parametrize(
    "key, value",
    [
        *(("host", host) for host in ("", "a b", "fed.example.org:443", "-x", "x" * 64)),
        *(("port", port) for port in (0, 65536, "443")),
        *(("bind", bind) for bind in ("localhost", "", "1.2.3")),
    ],
)
def test_wrong_settings_are_named(key: str, value: object) -> None:
    values = {"host": "a", "port": 443, "bind": "0.0.0.0", key: value}
    with pytest.raises(OperationError, match=f"init: {key} = .*: allowed is"):
        check_settings(values, "init")


def test_all_faults_are_said_at_once() -> None:
    with pytest.raises(OperationError) as caught:
        check_settings({"host": "", "port": 0, "bind": ""}, "init")
    assert len(str(caught.value).splitlines()) == 3
