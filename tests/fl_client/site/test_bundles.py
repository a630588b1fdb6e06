"""Bundles: looked at, approved by hash, withdrawn."""

import zipfile
from pathlib import Path

import pytest

from fl_client.site.bundles import Approvals, changes, open_bundle
from operation.errors import OperationError
from tests.fl_client.site.sites import make_bundle


def test_a_bundle_says_what_it_holds(tmp_path: Path) -> None:
    bundle = open_bundle(make_bundle(tmp_path / "a.fab", version="1.2.3"))
    assert bundle.version == "1.2.3"
    assert set(bundle.files) == {
        *("pyproject.toml", "tiny/__init__.py", "tiny/client.py", "tiny/server.py"),
    }
    assert bundle.config == {"rounds": 50, "data-dir": ""}


def test_what_changed_since_the_last_one(tmp_path: Path) -> None:
    before = open_bundle(make_bundle(tmp_path / "a.fab", {"tiny/gone.py": ""}))
    after = open_bundle(make_bundle(tmp_path / "b.fab", {"tiny/new.py": "", "tiny/client.py": "#"}))
    assert changes(before, after) == {
        "added": ["tiny/new.py"],
        "removed": ["tiny/gone.py"],
        "changed": ["tiny/client.py"],
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
    (tmp_path / "approved.json").write_text('{"01": {}, "02": {}}')
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


@pytest.mark.parametrize("name", ["tiny/client.py", "../outside.py", "/etc/passwd"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_bundle_whose_files_are_not_what_is_shown(tmp_path: Path, name: str) -> None:
    """One name twice: shown would be the one, run might be the other."""
    path = make_bundle(tmp_path / "a.fab")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, "evil")
    with pytest.raises(OperationError, match="is not a whole Flower App bundle"):
        open_bundle(path)


def test_a_bundle_that_unpacks_to_gigabytes(tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "a.fab")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny/zeros.py", bytes(101 << 20))
    with pytest.raises(OperationError, match="is not a whole Flower App bundle"):
        open_bundle(path)
