"""Bundles: inspected, approved by hash, withdrawn."""

import json
import struct
import zipfile
from pathlib import Path

import pytest

from fl_client.site.approved_bundles import Approvals, changed_files, open_bundle
from operation.errors import OperationError
from tests.fl_client.site.sites import make_bundle


def test_a_bundle_says_what_it_holds(tmp_path: Path) -> None:
    bundle = open_bundle(make_bundle(tmp_path / "a.fab", version="1.2.3"))
    assert bundle.version == "1.2.3"
    assert set(bundle.files) == {
        *("pyproject.toml", "tiny/__init__.py", "tiny/client.py", "tiny/server.py"),
        ".info/CONTENT",  # Flower's own list of the others
    }
    assert bundle.config == {"rounds": 50, "data-dir": ""}


def test_what_changed_since_the_last_one(tmp_path: Path) -> None:
    before = open_bundle(make_bundle(tmp_path / "a.fab", {"tiny/gone.py": ""}))
    after = open_bundle(make_bundle(tmp_path / "b.fab", {"tiny/new.py": "", "tiny/client.py": "#"}))
    assert changed_files(before, after) == {
        "added": ["tiny/new.py"],
        "removed": ["tiny/gone.py"],
        "changed": [".info/CONTENT", "tiny/client.py"],
    }


def test_what_is_approved_is_kept_and_what_is_withdrawn_is_not(tmp_path: Path) -> None:
    approvals = Approvals(tmp_path / "approved")
    first = open_bundle(make_bundle(tmp_path / "a.fab"))
    second = open_bundle(make_bundle(tmp_path / "b.fab", {"tiny/new.py": ""}))
    assert approvals.latest() is None
    approvals.approve(first)
    approvals.approve(second)
    assert list(approvals.listed()) == [first.sha256, second.sha256]
    latest = approvals.latest()
    assert latest is not None
    assert latest.sha256 == second.sha256
    assert approvals.withdraw(second.sha256[:10].upper()) == second.sha256
    assert approvals.find(second.sha256) is None
    found = approvals.find(first.sha256)
    assert found is not None
    assert found.content == first.content


def test_a_file_laid_into_the_folder_is_not_approved(tmp_path: Path) -> None:
    bundle = open_bundle(make_bundle(tmp_path / "a.fab"))
    folder = tmp_path / "approved"
    folder.mkdir()
    (folder / f"{bundle.sha256}.fab").write_bytes(bundle.content)
    assert Approvals(folder).find(bundle.sha256) is None


@pytest.mark.parametrize("prefix", ["", "zz", "0"])
def test_a_prefix_that_names_no_bundle_or_several(tmp_path: Path, prefix: str) -> None:
    approvals = Approvals(tmp_path)
    facts = {"version": "1", "approved": "today"}
    (tmp_path / "approved.json").write_text(json.dumps({"01": facts, "02": facts}))
    with pytest.raises(OperationError, match="approved bundles; see"):
        approvals.withdraw(prefix)


def test_a_damaged_list_approves_nothing(tmp_path: Path) -> None:
    (tmp_path / "approved.json").write_text("[")
    with pytest.raises(OperationError, match="is damaged"):
        Approvals(tmp_path).find("0" * 64)


def test_files_that_are_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "text.fab").write_text("text")
    with zipfile.ZipFile(tmp_path / "empty.fab", "w"):
        pass
    for name in ("text.fab", "empty.fab"):
        with pytest.raises(OperationError, match="is not a whole Flower App bundle"):
            open_bundle(tmp_path / name)
    with pytest.raises(OperationError, match="is not there"):
        open_bundle(tmp_path / "nowhere.fab")


@pytest.mark.parametrize(
    "name",
    [
        # One name twice: shown would be the one, run might be the other.
        "tiny/client.py",
        "tiny/Client.py",
        "TINY/client.py",
        # Python and the disk take it for a file that is there already.
        "./tiny/client.py",
        "tiny/./client.py",
        "tiny//client.py",
        "tiny/x/../client.py",
        "tiny/client.py/",
        "tiny/client.py.",
        "tiny\\client.py",
        # A file instead of a folder, and the other way round.
        "tiny",
        "tiny/client.py/more.py",
        # Outside the bundle's own folder.
        "../outside.py",
        "/etc/passwd",
        "C:/windows.py",
        "~/x.py",
        # What a terminal shows is not what it is: escapes, direction, another alphabet's с.
        "tiny/\x1b[2Aclient2.py",
        "tiny/x\nfiles    3",
        "tiny/\u202eyp.tneilc",
        "tiny/\u0441lient.py",
        "tiny/client2.py\x00.txt",
        " tiny/client2.py",
        "tiny/[red]x.py",
        "",
        "tiny/" + "x" * 200,
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_are_not_what_is_shown(tmp_path: Path, name: str) -> None:
    path = make_bundle(tmp_path / "a.fab")
    with zipfile.ZipFile(path, "a") as archive:
        # As it stands: ZipInfo itself would cut it at a NUL.
        entry = zipfile.ZipInfo("placeholder")
        entry.filename = name
        archive.writestr(entry, "evil")
    with pytest.raises(OperationError, match="whose name could be shown as another") as caught:
        open_bundle(path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "about",
    [
        "project = 1",
        "project = []",
        "[project]\nversion = 1\n[tool.flwr.app]",
        '[project]\nversion = "1"\n[tool]\nflwr = 3',
        '[project]\nversion = "1"\n[tool.flwr.app]\nconfig = 3',
        '[project]\nversion = "1"\n[tool.flwr]\napp = "x"',
        '[project]\nversion = "1"\n[tool.flwr]\napp = [1]',
        "a = " + "[" * 10_000 + "]" * 10_000,
        "\udcff",
    ],
    ids=range(9),
)
def test_a_bundle_that_says_of_itself_what_nobody_understands(tmp_path: Path, about: str) -> None:
    path = tmp_path / "a.fab"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pyproject.toml", about.encode("utf-8", "surrogateescape"))
    with pytest.raises(OperationError, match="is not a whole Flower App bundle"):
        open_bundle(path)


def test_a_version_cannot_move_the_cursor(tmp_path: Path) -> None:
    bundle = open_bundle(make_bundle(tmp_path / "a.fab", version="1\x1b[2J\n2"))
    assert bundle.version == "1 [2J 2"


@pytest.mark.parametrize("listed", ['{"0": 1}', '{"0": {"version": 1, "approved": "x"}}'])
def test_a_list_of_other_things_approves_nothing(tmp_path: Path, listed: str) -> None:
    (tmp_path / "approved.json").write_text(listed)
    with pytest.raises(OperationError, match="is damaged"):
        Approvals(tmp_path).find("0")


def test_a_member_at_an_offset_that_no_file_has(tmp_path: Path) -> None:
    """Stated in 64 bits, which is more than Python can seek to."""
    path = make_bundle(tmp_path / "a.fab")
    content = path.read_bytes()
    listed, end = content.index(b"PK\1\2"), content.index(b"PK\5\6")
    name, extra = struct.unpack_from("<HH", content, listed + 28)
    first = bytearray(content[listed : listed + 46 + name + extra])
    offset = struct.pack("<HHQ", 1, 8, 2**64 - 1)
    struct.pack_into("<H", first, 30, extra + len(offset))
    struct.pack_into("<I", first, 42, 0xFFFFFFFF)
    rest = content[listed + len(first) : end]
    ending = bytearray(content[end:])
    struct.pack_into("<I", ending, 12, len(first) + len(offset) + len(rest))
    path.write_bytes(content[:listed] + first + offset + rest + ending)
    with pytest.raises(OperationError, match="is not a whole Flower App bundle"):
        open_bundle(path)


def test_a_bundle_that_unpacks_to_gigabytes(tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "a.fab")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny/zeros.py", bytes(101 << 20))
    with pytest.raises(OperationError, match="is not a whole Flower App bundle"):
        open_bundle(path)
