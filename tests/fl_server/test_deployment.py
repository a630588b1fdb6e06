"""Deployed runs with the real apps of server and clients; only Flower's processes are left out."""

import json
import tomllib
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx
import joblib
import pytest

from data_partition.ham10000_tables import HAM10000_CLASSES
from fl_server import federation
from fl_server.deployment import places
from fl_server.federated_run import RunFailed, run_federation
from fl_server.site_introductions import collect_introductions
from tests.fl_server.hospitals import NODES, RUN, Hospitals, act
from tests.fl_server.sites_in_memory import CRASHED, GONE, REFUSED, SitesInMemory
from tests.kills import Killed
from tests.runs import tiny_config
from tests.support import BACKBONE, MemoryGrid, settings_of
from training.config import PATH_KEYS, parse
from training.device import resolve_device
from training.errors import ConfigError
from training.model_file import ModelFile
from training.participation import absences_of
from training.run_folder import RunFolder
from training.scores import SCORES
from training.weights import weights_sha256

pytestmark = pytest.mark.usefixtures("flower_run")


# With a step at the server, which follows the mean of both ways, a state of server and clients, and
# arrays that travel beside the weights.
STRATEGY = "scaffold"


@pytest.fixture(scope="module")
def simulated(synthetic_ham: Path, images: Path) -> dict[str, Any]:
    """The final figures of a simulation of the same run, by the same two apps."""
    out = images / "simulated"
    changes = {"backbone": BACKBONE, "rounds": 2, "min_replies": 3, "strategy": STRATEGY}
    config = tiny_config(synthetic_ham, images / "cache", run_dir=str(out), **changes)
    nodes = {index: {"partition-id": index} for index in range(3)}
    grid = MemoryGrid({n: partial(act, node=n, node_config=c) for n, c in nodes.items()})
    run_federation(grid, config.to_flat(), run_id=1)
    return RunFolder(out).metrics()


def test_own_folders_with_the_images_of_shards_give_the_simulations_weights(
    hospitals: Hospitals,
    images: Path,
    simulated: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And its figures, and what it says of updates; and every site keeps the best model."""
    found = hospitals.run(monkeypatch, test_dir=hospitals.data, strategy=STRATEGY)
    assert found["weights_sha256"] == simulated["weights_sha256"]
    # The coordinator sees no training image, so it cannot say how many test images are among them.
    assert found["global_test"] == {**simulated["global_test"], "in_training": None}
    assert found["client_test"] == simulated["client_test"]
    assert list(found["clients"]) == list(NODES)
    # The simulation averaged all at once, this run one after the other.
    for ours, theirs in zip(
        hospitals.run_folder.rounds(), RunFolder(images / "simulated").rounds(), strict=True
    ):
        updates = [[client["update"] for client in r["clients"].values()] for r in (ours, theirs)]
        assert updates[0] == updates[1]
    assert hospitals.run_folder.manifest()["data"]["test_images"] == 70
    best = hospitals.run_folder.checkpoint.weights(found["best_round"])
    for name in NODES:
        kept = ModelFile.load(hospitals.folder / name / "runs" / RUN / "model.safetensors")
        assert weights_sha256(kept.weights) == weights_sha256(best)
        assert (kept.round, kept.run) == (found["best_round"], RUN)
        assert {kept.config.to_flat()[key] for key in PATH_KEYS} == {""}


def test_numbered_shards_do_so_too_with_sites_that_are_lost_on_the_way(
    hospitals: Hospitals, simulated: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With min-replies = 3 they are asked again, in training and in evaluation."""
    for index, config in enumerate(hospitals.node_configs.values()):
        config |= {"data-dir": str(hospitals.data), "partition-id": index, "num-partitions": 3}
    hospitals.mishaps = {
        ("hospital-b", "train"): [GONE, CRASHED],
        ("hospital-c", "evaluate"): [GONE],
    }
    found = hospitals.run(monkeypatch, strategy=STRATEGY)
    assert found["weights_sha256"] == simulated["weights_sha256"]
    assert [record["failures"] for record in hospitals.run_folder.rounds()] == [{}, {}]


def test_a_site_whose_policy_forbids_histograms_is_in_all_other_figures(
    hospitals: Hospitals, simulated: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing fails, the weights are the same, and what needs histograms is the other sites'."""
    policy = hospitals.folder / "policy.toml"
    policy.write_text("histograms = false")
    hospitals.node_configs["hospital-b"]["policy"] = str(policy)
    found = hospitals.run(monkeypatch, strategy=STRATEGY)
    assert found["weights_sha256"] == simulated["weights_sha256"]
    pooled = found["client_test"]
    assert pooled["no_histograms"] == {"hospital-b": "sends no histograms"}
    assert pooled["auroc"] is not None
    assert found["clients"]["hospital-b"]["auroc"] is None
    needs_none = [name for name, score in SCORES.items() if score.needs == "confusion"]
    for name in needs_none:
        assert pooled[name] == simulated["client_test"][name]
    assert absences_of(found) == {}
    kept = json.loads((hospitals.run_folder.path / "histograms.json").read_text())
    assert list(kept["client_test"]) == ["hospital-a", "hospital-c"]


def test_class_counts_are_summed_over_the_sites_that_all_allow_it(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy that forbids them ends the run before anything is trained."""
    policy = hospitals.folder / "policy.toml"
    policy.write_text("class-counts = false")
    hospitals.node_configs["hospital-b"]["policy"] = str(policy)
    wanted = {"loss": "logit-adjusted", "class_counts": "federation", "rounds": 1}
    with pytest.raises(RunFailed, match=r"^hospital-b: gives no counts of its classes"):
        hospitals.run(monkeypatch, **wanted)
    assert hospitals.run_folder.rounds() == []
    policy.write_text("")
    hospitals.run(monkeypatch, **wanted)
    manifest = hospitals.run_folder.manifest()
    trained_on = sum(client["train"] for client in manifest["clients"].values())
    assert sum(manifest["class_counts"]) == trained_on > 0
    # The classes of the counts that no site has, by hand, are named from the start.
    classes = manifest["data"]["classes"]
    absent = [c for c, n in zip(classes, manifest["class_counts"], strict=True) if not n]
    said = [n for n in manifest["data"]["notices"] if n.startswith("no client has training images")]
    assert absent, "so the test tests something"
    assert [n.partition(" of ")[2].partition(":")[0] for n in said] == [", ".join(absent)]


def test_class_counts_are_summed_over_all_sites_though_the_first_start_was_killed(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second start that took the counts of those present would leave them too small for ever."""
    wanted = {"loss": "balanced", "class_counts": "federation", "rounds": 1, "min_replies": 2}
    with monkeypatch.context() as patch:
        patch.setattr(federation, "summed_class_counts", Mock(side_effect=Killed))
        with pytest.raises(Killed):
            hospitals.run(monkeypatch, **wanted)
    hospitals.mishaps = {("hospital-c", "query"): [REFUSED]}
    with pytest.raises(RunFailed, match="hospital-c"):
        hospitals.run(monkeypatch, **wanted)
    hospitals.run(monkeypatch, **wanted)
    manifest = hospitals.run_folder.manifest()
    trained_on = sum(client["train"] for client in manifest["clients"].values())
    assert sum(manifest["class_counts"]) == trained_on


def test_a_run_that_failed_goes_on_to_the_same_weights(
    hospitals: Hospitals, simulated: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    hospitals.mishaps = {("hospital-b", "train"): [None, REFUSED]}
    with pytest.raises(RunFailed, match=r'^round 2: 2 of 3 .*hospital-b: "mishap"'):
        hospitals.run(monkeypatch, strategy=STRATEGY)
    assert hospitals.run_folder.manifest()["status"] == "failed"
    found = hospitals.run(monkeypatch, strategy=STRATEGY)
    assert found["weights_sha256"] == simulated["weights_sha256"]


def test_a_run_goes_on_without_a_site_that_is_away(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its place among the clients is kept, and so are its entries."""
    monkeypatch.setitem(collect_introductions.__kwdefaults__, "patience", 0.05)
    lost = {("hospital-b", "train"): [GONE], ("hospital-c", "evaluate"): [REFUSED]}
    hospitals.mishaps = {**lost, ("hospital-b", "evaluate"): [REFUSED]}
    with pytest.raises(RunFailed, match=r"^judging: 1 of 3"):
        hospitals.run(monkeypatch, min_replies=2, rounds=1)
    before = hospitals.run_folder.manifest()["clients"]
    hospitals.mishaps = {("hospital-b", "query"): [GONE] * 99, ("hospital-b", "evaluate"): [GONE]}
    found = hospitals.run(monkeypatch, min_replies=2, rounds=1)
    assert list(found["clients"]) == ["hospital-a", "hospital-c"]
    assert hospitals.run_folder.manifest()["clients"] == before
    [record] = hospitals.run_folder.rounds()
    assert record["failures"] == {"hospital-b": "its connection was lost"}


def test_what_travels_holds_no_path_and_the_manifest_says_who_took_part(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospitals.mishaps = {(name, "train"): [REFUSED] for name in NODES}
    with pytest.raises(RunFailed, match="round 1: 0 of 3"):
        hospitals.run(monkeypatch, threads_per_client=0, device="auto")
    kinds = [message.metadata.message_type for message in hospitals.grid.sent]
    assert kinds == ["query"] * 3 + ["train"] * 3
    for message in hospitals.grid.sent:
        told = settings_of(message)
        config = parse(tomllib.loads(str(told["experiment"])))
        assert {config.to_flat()[key] for key in PATH_KEYS} == {""}
        assert (config.device, config.threads_per_client, told["run"]) == ("auto", 0, RUN)
    manifest = hospitals.run_folder.manifest()
    assert (manifest["status"], manifest["command"]) == ("failed", "run")
    assert list(manifest["clients"]) == list(NODES)
    first = manifest["clients"]["hospital-a"]
    assert (first["train"], first["validation"], first["test"]) == (6, 2, 2)
    assert first["device"] == resolve_device("auto")
    assert first["threads"] == joblib.cpu_count()
    data = manifest["data"]
    assert data["classes"] == list(HAM10000_CLASSES)
    assert (data["images"], data["test_images"], data["synthetic"]) == (30, 0, False)
    assert hospitals.run_folder.config().threads_per_client == 0


@pytest.mark.parametrize(
    "saying, marked", [(("hospital-b",), False), (tuple(NODES), True)], ids=["one", "all"]
)
def test_one_site_that_says_synthetic_does_not_mark_the_run(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch, saying: tuple[str, ...], marked: bool
) -> None:
    monkeypatch.setattr(
        "fl_client.client_setup.is_synthetic", lambda path: any(name in path for name in saying)
    )
    hospitals.mishaps = {(name, "train"): [REFUSED] for name in NODES}
    with pytest.raises(RunFailed, match="round 1: 0 of 3"):
        hospitals.run(monkeypatch)
    manifest = hospitals.run_folder.manifest()
    assert manifest["data"]["synthetic"] is marked
    said = {name: about["synthetic"] for name, about in manifest["clients"].items()}
    assert said == {name: name in saying for name in NODES}


def test_a_run_whose_superlink_is_gone_has_not_failed(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It continues when there is a new one; the coordinator sees that the process ended."""

    def gone(*_arguments: object) -> None:
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(SitesInMemory, "push_messages", gone)
    with pytest.raises(httpx.ConnectError):
        hospitals.run(monkeypatch)
    assert hospitals.run_folder.manifest()["status"] == "running"


def test_places_hold_paths_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert places() == {}
    file = tmp_path / "places.toml"
    monkeypatch.setenv("FEDSKIN_PLACES", str(file))
    with pytest.raises(ConfigError, match=r"places\.toml: cannot be read"):
        places()
    file.write_text('run-dir = "/runs/1"')
    assert places() == {"run-dir": "/runs/1"}
    file.write_text("rounds = 1")
    with pytest.raises(ConfigError, match=r"rounds is none of .*data-dir"):
        places()
