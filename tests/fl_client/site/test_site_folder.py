"""A site's folder, its keys, its invitation, its policy, its records."""

import json
import stat
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from fl_client.site.invitation import read_invitation, split_address
from fl_client.site.keys import load_key, make_key_pair
from fl_client.site.policy import Policy, read_policy, write_policy
from fl_client.site.records import DAY_SECONDS, Records, last_records
from fl_client.site.site_folder import SiteFolder, SiteSettings, check_new
from operation.errors import OperationError
from tests.fl_client.site.certificates import Authority
from tests.fl_client.site.sites import make_invitation, make_site


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_site_keeps_what_is_secret_to_its_owner(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    assert mode(site.path) == 0o700
    assert (mode(site.key), mode(site.secret)) == (0o600, 0o600)
    assert b"PRIVATE" not in site.public_key().read_bytes()


def test_the_public_file_is_the_private_keys_own(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    public = load_ssh_public_key(site.public_key().read_bytes())
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert public.curve.name == "secp384r1"
    assert public == load_key(site.key).public_key()


def test_an_interrupted_init_keeps_the_key_that_was_made(tmp_path: Path) -> None:
    make_key_pair(tmp_path / "site.key", tmp_path / "a.pub", "a")
    first = (tmp_path / "site.key").read_bytes()
    make_key_pair(tmp_path / "site.key", tmp_path / "a.pub", "a")
    assert (tmp_path / "site.key").read_bytes() == first


def test_a_damaged_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "site.key").write_text("no key")
    with pytest.raises(OperationError, match=r"site\.key: is not this site's private key"):
        load_key(tmp_path / "site.key")


def test_the_app_is_told_every_path_and_its_shard(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    assert site.node_config() == {
        "site": "hospital-a",
        "folder": str(site.path),
        "policy": str(site.path / "policy.toml"),
        "data-dir": str(tmp_path / "data"),
        "cache-dir": str(site.path / "cache"),
        "weights-dir": "",
    }
    with (site.path / "site.toml").open("a") as file:
        file.write("partition-id = 1\nnum-partitions = 3\n")
    told = site.node_config()
    assert (told["partition-id"], told["num-partitions"]) == (1, 3)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ä", "a" * 64, "a\n"])
def test_names_that_no_coordinator_admits(tmp_path: Path, name: str) -> None:
    with pytest.raises(OperationError, match="--name"):
        check_new(SiteFolder(tmp_path / "site"), name)


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    with pytest.raises(OperationError, match="is the folder of site 'hospital-a' already"):
        check_new(site, "hospital-b")


def test_a_folder_that_is_no_sites_is_named(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="fedskin site init"):
        SiteFolder(tmp_path).settings()


@pytest.mark.parametrize(
    "text, said",
    [
        ("name = 'a'", "address is missing"),
        ("name = 1\naddress = 'a:1'\ndata-dir = ''", "name = 1"),
        (
            "name = 'a'\naddress = 'a:1'\ndata-dir = ''\ncolour = 'red'",
            "colour: no such key",
        ),
        ("name = ", "is not a TOML file"),
    ],
)
def test_a_damaged_site_toml_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "site.toml").write_text(text)
    with pytest.raises(OperationError, match=said) as error:
        SiteFolder(tmp_path).settings()
    assert "\n" not in str(error.value).replace(text, "")


def test_site_toml_holds_what_was_given(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    assert site.settings() == SiteSettings(
        name="hospital-a", address="127.0.0.1:443", data_dir=str(tmp_path / "data")
    )


# ---- the invitation


def test_an_invitation_names_its_cas_fingerprint(tmp_path: Path) -> None:
    found = read_invitation(make_invitation(tmp_path / "invitation", address="h.example:8443"))
    assert found.address == "h.example:8443"
    assert len(found.fingerprint.split(":")) == 32


def test_folders_that_are_no_invitation(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="is not an invitation"):
        read_invitation(tmp_path)
    with pytest.raises(OperationError, match="is not an invitation"):
        read_invitation(tmp_path / "nowhere")


def test_an_invitation_of_another_version(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match=r"of fedskin 9\.9.* or ask it for a new"):
        read_invitation(make_invitation(tmp_path / "invitation", version="9.9"))


@pytest.mark.parametrize("address", ["", "host", "host:0", "host:70000", "https://host:443"])
def test_an_invitation_to_no_address(tmp_path: Path, address: str) -> None:
    with pytest.raises(OperationError, match="write it as HOST:PORT"):
        read_invitation(make_invitation(tmp_path / "invitation", address=address))


def test_addresses() -> None:
    assert split_address("h.example:443") == ("h.example", 443)
    assert split_address("[::1]:20000") == ("::1", 20000)


def test_an_invitation_with_a_servers_certificate_or_none(tmp_path: Path) -> None:
    server, _ = Authority(tmp_path / "ca").issue()
    for ca in (server.read_bytes(), b"nothing"):
        with pytest.raises(OperationError, match="is not the certificate of a CA"):
            read_invitation(make_invitation(tmp_path / "invitation", ca=ca))


def test_an_invitation_whose_ca_has_expired(tmp_path: Path) -> None:
    ca = Authority(tmp_path / "ca", days=0.5).certificate.read_bytes()
    with pytest.raises(OperationError, match="set the clock, or ask the coordinator"):
        read_invitation(make_invitation(tmp_path / "invitation", ca=ca))


# ---- the policy


def test_the_policy_a_site_begins_with(tmp_path: Path) -> None:
    write_policy(tmp_path / "policy.toml", Policy())
    assert (tmp_path / "policy.toml").read_text().splitlines() == [
        "objectives = [",
        '    "classifier",',
        '    "clip",',
        "]",
        "max-local-epochs = 5",
        "max-rounds-per-day = 1000",
        "min-examples = 10",
        "max-image-size = 512",
        "max-cache-bytes = 50000000000",
        "histograms = true",
        "class-counts = true",
    ]


@pytest.mark.parametrize(
    "text, said",
    [
        ("objectives = ['regression']", "objectives"),
        ("max-local-epochs = 0", "max-local-epochs = 0"),
        ("max-local-epochs = '5'", "max-local-epochs = '5'"),
        ("max-rounds-per-day = -1", "max-rounds-per-day = -1"),
        ("min-exmples = 3", "min-exmples: no such key; did you mean min-examples?"),
    ],
)
def test_a_damaged_policy_is_never_replaced_by_defaults(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "policy.toml").write_text(text)
    with pytest.raises(OperationError, match=said):
        read_policy(tmp_path / "policy.toml")


def test_a_missing_policy_is_never_replaced_by_defaults(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="is not there"):
        read_policy(tmp_path / "policy.toml")


# ---- the records


def test_rounds_of_the_last_24_hours_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    old = {"time": "2020-01-01T00:00:00.000+00:00", "event": "in", "type": "train"}
    path.write_text(json.dumps(old) + "\n")
    records = Records(path)
    for event, kind in [
        ("in", "train"),
        ("out", "train"),
        ("in", "evaluate"),
        ("refused", "train"),
    ]:
        records.append(event, type=kind)
    assert records.rounds_today() == 1
    assert Records(path).rounds_today() == 1


def test_a_clock_that_is_set_changes_no_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set forward by two days, old rounds would be forgotten; a day has to pass for that."""
    records = Records(tmp_path / "records.jsonl")
    records.append("in", type="train")
    real, steady = time.time(), time.monotonic()
    monkeypatch.setattr(time, "time", lambda: real + 2 * DAY_SECONDS)
    assert records.rounds_today() == 1
    monkeypatch.setattr(time, "monotonic", lambda: steady + DAY_SECONDS + 1)
    assert records.rounds_today() == 0


def test_a_line_cut_by_a_power_failure_is_passed_over_and_the_next_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    Records(path).append("in", type="train")
    with path.open("a") as file:
        file.write('{"time": "20')
    records = Records(path)
    records.append("out", type="train")
    assert [line["event"] for line in last_records(path)] == ["in", "out"]


@pytest.mark.parametrize(
    "line",
    [
        "5",
        "[]",
        "{}",
        '{"time": 5, "event": "in", "type": "train"}',
        '{"time": "noon", "event": "in", "type": "train"}',
        "[" * 10_000,
    ],
)
def test_a_line_that_is_no_record_is_skipped(tmp_path: Path, line: str) -> None:
    path = tmp_path / "records.jsonl"
    Records(path).append("in", type="train")
    with path.open("a") as file:
        file.write(f"{line}\n")
    assert Records(path).rounds_today() == 1
    assert len(last_records(path)) == 1


def test_the_last_records_come_oldest_first(tmp_path: Path) -> None:
    records = Records(tmp_path / "records.jsonl")
    for number in range(5):
        records.append("in", type="query", round=number)
    assert [line["round"] for line in last_records(tmp_path / "records.jsonl", 2)] == [3, 4]
    assert last_records(tmp_path / "nowhere.jsonl") == []
