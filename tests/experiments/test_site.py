"""``fedskin site``."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from data_partition.errors import DataError
from data_partition.synthetic_ham10000 import write_ham10000
from experiments.site import app
from fl_client.site.records import Records
from fl_client.site.site_folder import SiteFolder
from operation.environment import script
from operation.errors import OperationError
from tests.fl_client.site.sites import approve, make_bundle, make_invitation, make_site


def site(*arguments: object, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], input=answer)


def said(*arguments: object, answer: str | None = None) -> str:
    result = site(*arguments, answer=answer)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return " ".join(result.output.split())


def complaint(*arguments: object, kind: type[Exception] = OperationError) -> str:
    error = site(*arguments).exception
    assert isinstance(error, kind), repr(error)
    assert "\n" not in str(error)
    return str(error)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_ham10000(folder, images=14, seed=0)
    return folder


def begin(folder: Path, data: Path, *more: object) -> tuple[object, ...]:
    invitation = make_invitation(folder / "invitation", address="h.example:443")
    named = ("--name", "hospital-a", "--invitation", invitation, "--data", data)
    return ("init", folder / "site", *named, *more)


def test_init_names_the_one_file_to_send_and_the_fingerprint(tmp_path: Path, data: Path) -> None:
    output = said(*begin(tmp_path, data, "--shard", "2/3"))
    folder = SiteFolder(tmp_path / "site")
    assert f"nothing else: {folder.path / 'hospital-a.pub'}" in output
    assert "14 images" in output
    assert "fingerprint: " in output
    settings = folder.settings()
    assert (settings.address, settings.data_dir) == ("h.example:443", str(data))
    assert (settings.partition_id, settings.num_partitions) == (1, 3)
    (store,) = (folder.cache / "images").glob("*/images.npy")
    assert np.load(store, mmap_mode="r").shape == (14, 256, 256, 3)


def test_init_twice(tmp_path: Path) -> None:
    made = make_site(tmp_path)
    arguments = ("--name", "b", "--invitation", tmp_path / "invitation", "--data", tmp_path)
    assert "choose another folder" in complaint("init", made.path, *arguments)


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "a/b", "-1/3", "1/2/3"])
def test_shards_that_are_none(tmp_path: Path, shard: str) -> None:
    assert "write K/M" in complaint(*begin(tmp_path, tmp_path, f"--shard={shard}"))


def test_init_with_data_that_is_none_leaves_no_site(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no data set" in complaint(*begin(tmp_path, tmp_path / "empty"), kind=DataError)
    assert "is not a folder" in complaint(*begin(tmp_path, tmp_path / "nowhere"))
    said = complaint(*begin(tmp_path, Path("~/nowhere")))
    assert f"{Path.home() / 'nowhere'}: is not a folder" in said
    assert not (tmp_path / "site" / "site.toml").exists()


def test_a_bundle_is_shown_before_it_is_approved(tmp_path: Path) -> None:
    made = make_site(tmp_path)
    first = make_bundle(tmp_path / "a.fab")
    result = site("approve", made.path, first, answer="n\n")
    assert result.exit_code == 1
    assert said("approved", made.path) == ""
    output = said("approve", made.path, first, answer="y\n")
    assert "tiny/client.py" in output
    assert "Approved" in output
    second = make_bundle(tmp_path / "b.fab", {"tiny/client.py": "#"})
    assert "changed tiny/client.py" in said("approve", made.path, second, "--yes")
    assert "nothing has changed" in said("approve", made.path, second, "--yes")


def test_a_bundle_of_another_version_is_pointed_out(tmp_path: Path) -> None:
    made = make_site(tmp_path)
    bundle = make_bundle(tmp_path / "a.fab", version="9.9")
    assert "install the same version" in said("approve", made.path, bundle, "--yes")


def test_withdrawing(tmp_path: Path) -> None:
    made = make_site(tmp_path)
    sha256 = approve(made, make_bundle(tmp_path / "a.fab"))
    assert sha256 in said("approved", made.path)
    assert sha256 in said("withdraw", made.path, sha256[:6])
    assert said("approved", made.path) == ""
    assert "0 approved bundles" in complaint("withdraw", made.path, sha256[:6])


def test_the_log_shows_what_came_left_and_was_refused(tmp_path: Path) -> None:
    made = make_site(tmp_path)
    assert said("log", made.path) == ""
    records = Records(made.records)
    common = {"type": "train", "round": 3, "run": "4711"}
    one = {"name": "arrays", "kind": "arrays", "bytes": 32, "sha256": "ab" * 32}
    records.append("in", **common, records=[one])
    records.append("refused", **common, reason="too [bold]few[/]")
    output = said("log", made.path)
    assert "in train, round 3, run 4711" in output
    assert f"arrays (arrays), 32 bytes, sha256 {'ab' * 32}" in output
    assert "too [bold]few[/]" in output
    assert "in train" not in said("log", made.path, "--last", 1)


def test_status_pause_and_resume(tmp_path: Path) -> None:
    made = make_site(tmp_path)
    assert "not served" in said("status", made.path)
    said("pause", made.path)
    assert "paused; resume with" in said("status", made.path)
    said("resume", made.path)
    assert "0 of 1000 in 24 hours" in said("status", made.path)


def test_the_newest_model_is_taken_home(tmp_path: Path) -> None:
    made = make_site(tmp_path)
    out = tmp_path / "out.safetensors"
    assert "holds no model of a finished run" in complaint("model", made.path, "--out", out)
    for run in ("a" * 32, "b" * 32):
        (made.runs / run).mkdir(parents=True)
        (made.runs / run / "model.safetensors").write_text(run)
    said("model", made.path, "--out", out)
    assert out.read_text() == "b" * 32
    said("model", made.path, "--out", out, "--run", "a" * 32)
    assert out.read_text() == "a" * 32
    assert "of run c" in complaint("model", made.path, "--out", out, "--run", "c")
    assert site("model", made.path, "--out", tmp_path / "out.bin").exit_code == 2


@pytest.mark.parametrize(
    "command", ["approved", "serve", "log", "status", "pause", "resume", "withdraw"]
)
def test_a_folder_that_is_no_sites(tmp_path: Path, command: str) -> None:
    more = ["0"] if command == "withdraw" else []
    assert "is not a site's folder" in complaint(command, tmp_path, *more)
    assert list(tmp_path.iterdir()) == []


def test_a_complaint_is_one_line_and_status_2(tmp_path: Path) -> None:
    result = subprocess.run(
        [script("fedskin"), "site", "serve", tmp_path], capture_output=True, text=True
    )
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "fedskin site init" in result.stderr
