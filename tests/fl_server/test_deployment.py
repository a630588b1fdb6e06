"""Deployed runs with the real apps of server and clients; only Flower's processes are left out."""

import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import joblib
import pandas as pd
import pytest
import torch
from flwr.app import ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity

import fl_client.app
from data_partition.errors import DataError
from data_partition.image_table import HAM10000_CLASSES
from fl_server.deployment import places
from fl_server.piecewise_grid import Arrival
from fl_server.preparation import for_sites, prepare_deployed
from fl_server.run import RunFailed, run
from fl_server.sites import introduce
from tests.fl_server.sites_in_memory import CRASHED, GONE, REFUSED, Answer, SitesInMemory
from tests.runs import tiny_config
from tests.support import MemoryGrid, settings_of
from training.config import parse
from training.device import resolve_device
from training.errors import ConfigError
from training.experiment_data import open_federated_data
from training.model_file import ModelFile
from training.preparation import PATH_KEYS
from training.run_folder import RunFolder
from training.weights import weights_sha256

pytestmark = pytest.mark.usefixtures("flower_task")

RUN = "0123456789abcdef" * 2
NODES = {"hospital-a": 30, "hospital-b": 20, "hospital-c": 10}


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Clients set the number of torch's threads for their process, which here is the test's."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def act(message: Message, node: int, node_config: dict[str, Any]) -> Message:
    """Return the ClientApp's reply at a node."""
    try:
        return fl_client.app.app(message, Context(1, node, node_config, RecordDict(), {}))
    except DataError as error:
        return Message(Error(REFUSED, str(error)), reply_to=message)


@dataclass
class Hospitals:
    """Three sites with the ClientApp, and a coordinator with a run folder.

    Attributes:
        folder: where everything lies.
        data: the common release, whose test set the coordinator has.
        node_configs: by name.
        mishaps: by name and message type, errors that come in the place of the first answers;
            None where all is well.
        cheats: by name, what answers in the place of the ClientApp, but for introductions.
    """

    folder: Path
    data: Path
    node_configs: dict[str, dict[str, Any]]
    mishaps: dict[tuple[str, str], list[int | None]] = field(default_factory=dict)
    cheats: dict[str, Callable[..., Message]] = field(default_factory=dict)

    @property
    def run_folder(self) -> RunFolder:
        return RunFolder(self.folder / "run")

    def run(
        self, monkeypatch: pytest.MonkeyPatch, *, test_dir: object = "", **changes: Any
    ) -> dict[str, Any]:
        """Begin a run as a coordinator does, or continue it; return its final metrics."""
        wanted = {"dataset": "ham10000", "rounds": 2, "min_replies": 3, **changes}
        here = {
            "run-dir": self.run_folder.path,
            "test-dir": test_dir,
            "cache-dir": self.folder / "cache",
        }
        config = prepare_deployed(tiny_config("", "", **wanted))
        file = self.folder / "places.toml"
        file.write_text("".join(f'{key} = "{path}"\n' for key, path in here.items()))
        monkeypatch.setenv("FEDSKIN_PLACES", str(file))
        self.run_folder.create(config.replace(test_dir=str(test_dir)))
        # In another order than that of the names, which is what counts.
        self.run_folder.update_manifest(sites=dict(reversed(NODES.items())), run=RUN)
        self.grid = SitesInMemory({node: [self._site(name)] * 50 for name, node in NODES.items()})
        run(self.grid, for_sites(config).to_flat(), run_id=1)
        return self.run_folder.metrics()

    def _site(self, name: str) -> Answer:
        def answer(message: Message) -> Message:
            mishaps = self.mishaps.get((name, message.metadata.message_type), [])
            code = mishaps.pop(0) if mishaps else None
            if code is not None:
                return Message(Error(code, "mishap"), reply_to=message)
            how = act if message.metadata.message_type == "query" else self.cheats.get(name, act)
            return how(message, NODES[name], self.node_configs[name])

        return answer


@pytest.fixture(scope="module")
def images(synthetic_ham: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the release, of its store in cache/, and of one data folder for each shard."""
    folder = tmp_path_factory.mktemp("images")
    plan = open_federated_data(tiny_config(synthetic_ham, folder / "cache")).plan
    table = pd.read_csv(synthetic_ham / "HAM10000_metadata.csv", dtype=str, keep_default_na=False)
    for index, name in enumerate(NODES):
        ids = plan.loc[plan["client"] == f"client-{index}", "image_id"]
        part = folder / name / "HAM10000_images_part_1"
        part.mkdir(parents=True)
        for path in synthetic_ham.glob("HAM10000_images_part_*/*.jpg"):
            if path.stem in set(ids):
                (part / path.name).symlink_to(path)
        rows = table[table["image_id"].isin(ids)]
        rows.to_csv(folder / name / "HAM10000_metadata.csv", index=False)
    return folder


@pytest.fixture
def hospitals(tmp_path: Path, synthetic_ham: Path, images: Path) -> Hospitals:
    """Sites that each have a data folder of their own, which holds the images of a shard."""
    node_configs = {
        name: {
            "site": name,
            "folder": str(tmp_path / name),
            "data-dir": str(images / name),
            "cache-dir": str(images / "cache"),
            "weights-dir": "",
        }
        for name in NODES
    }
    return Hospitals(tmp_path, synthetic_ham, node_configs)


@pytest.fixture(scope="module")
def simulated(synthetic_ham: Path, images: Path) -> dict[str, Any]:
    """The final figures of a simulation of the same run, by the same two apps."""
    out = images / "simulated"
    config = tiny_config(synthetic_ham, images / "cache", rounds=2, min_replies=3, run_dir=str(out))
    monkeypatch = pytest.MonkeyPatch()
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    nodes = {index: {"partition-id": index} for index in range(3)}
    grid = MemoryGrid({n: partial(act, node=n, node_config=c) for n, c in nodes.items()})
    run(grid, config.to_flat(), run_id=1)
    monkeypatch.undo()
    return RunFolder(out).metrics()


def test_own_folders_with_the_images_of_shards_give_the_simulations_weights(
    hospitals: Hospitals,
    images: Path,
    simulated: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And its figures, and what it says of updates; and every site keeps the best model."""
    found = hospitals.run(monkeypatch, test_dir=hospitals.data)
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
    assert hospitals.run(monkeypatch)["weights_sha256"] == simulated["weights_sha256"]
    assert [record["failures"] for record in hospitals.run_folder.rounds()] == [{}, {}]


def test_a_run_that_failed_goes_on_to_the_same_weights(
    hospitals: Hospitals, simulated: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    hospitals.mishaps = {("hospital-b", "train"): [None, REFUSED]}
    with pytest.raises(RunFailed, match=r'^round 2: 2 of 3 .*hospital-b: "mishap"'):
        hospitals.run(monkeypatch)
    assert hospitals.run_folder.manifest()["status"] == "failed"
    assert hospitals.run(monkeypatch)["weights_sha256"] == simulated["weights_sha256"]


def test_a_run_goes_on_without_a_site_that_is_away(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its place among the clients is kept, and so are its entries."""
    monkeypatch.setitem(introduce.__kwdefaults__, "patience", 0.05)
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
        "fl_client.at_site.is_synthetic", lambda path: any(name in path for name in saying)
    )
    hospitals.mishaps = {(name, "train"): [REFUSED] for name in NODES}
    with pytest.raises(RunFailed, match="round 1: 0 of 3"):
        hospitals.run(monkeypatch)
    manifest = hospitals.run_folder.manifest()
    assert manifest["data"]["synthetic"] is marked
    said = {name: about["synthetic"] for name, about in manifest["clients"].items()}
    assert said == {name: name in saying for name in NODES}


def test_a_site_whose_images_changed_is_refused_by_name(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospitals.mishaps = {("hospital-c", "train"): [REFUSED]}
    with pytest.raises(RunFailed, match='hospital-c: "mishap"'):
        hospitals.run(monkeypatch)
    config = hospitals.node_configs
    config["hospital-b"]["data-dir"] = config["hospital-c"]["data-dir"]
    with pytest.raises(RunFailed, match=r"^hospital-b holds other images than when this run began"):
        hospitals.run(monkeypatch)
    assert hospitals.run_folder.manifest()["status"] == "failed"


def test_a_first_site_with_other_classes_does_not_accuse_the_others(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Renamed(SitesInMemory):
        """hospital-a, the first in the order of names, says that it has another class."""

        def read(self, arrival: Arrival, question: Message) -> Message:
            reply = super().read(arrival, question)
            about = reply.content["client"]
            assert isinstance(about, ConfigRecord)
            if about["name"] == "hospital-a":
                about["classes"] = ["other"]
            return reply

    monkeypatch.setattr("tests.fl_server.test_deployment.SitesInMemory", Renamed)
    with pytest.raises(RunFailed) as caught:
        hospitals.run(monkeypatch)
    assert str(caught.value) == (
        'hospital-a has the classes "other", but ham10000 has akiec, bcc, bkl, df, mel, nv, vasc: '
        "it must correct its data folder"
    )


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"num-partitions": 4, "partition-id": 1}, "holds shard 2 of 4, but .* clients = 3"),
        ({"data-dir": "/nowhere"}, "/nowhere"),
    ],
)
def test_a_site_that_cannot_open_its_images_is_named(
    hospitals: Hospitals,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    message: str,
) -> None:
    hospitals.node_configs["hospital-b"] |= changes
    with pytest.raises(RunFailed, match=f"^hospital-b cannot take part: .*{message}"):
        hospitals.run(monkeypatch)


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
    with pytest.raises(ConfigError, match="rounds is none of data-dir, test-dir"):
        places()


def hostile(message: Message, node: int, node_config: dict[str, Any]) -> Message:
    """Valid replies, each with one invalid metric of another kind."""
    reply = act(message, node, node_config)
    metrics = reply.content["metrics"]
    assert isinstance(metrics, MetricRecord)
    if message.metadata.message_type == "train":
        metrics["num-examples"] = 10**15
    else:
        del metrics["test-confusion"]
    return reply


def test_a_compromised_site_costs_the_run_its_own_answers_and_nothing_else(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In training and in judging; weighted by examples it would have had all the weight."""
    hospitals.cheats = {"hospital-b": hostile}
    found = hospitals.run(monkeypatch, min_replies=2, aggregation_weights="examples")
    assert list(found["clients"]) == ["hospital-a", "hospital-c"]
    for record in hospitals.run_folder.rounds():
        assert list(record["clients"]) == ["hospital-a", "hospital-c"]
        assert record["failures"] == {"hospital-b": "its num-examples is not 6: 1000000000000000"}
    assert "test-confusion" in found["client_test"]["missing"]["hospital-b"]


def test_a_site_that_is_not_as_it_was_does_not_end_a_run_that_goes_on(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With other images, or an invalid introduction; min-replies others are there, so it is not
    asked.
    """
    hospitals.mishaps = {(f"hospital-{name}", "evaluate"): [REFUSED] for name in "ac"}
    with pytest.raises(RunFailed, match=r"^judging: 1 of 3"):
        hospitals.run(monkeypatch, min_replies=2, rounds=1)
    config = hospitals.node_configs
    config["hospital-b"]["data-dir"] = config["hospital-c"]["data-dir"]
    found = hospitals.run(monkeypatch, min_replies=2, rounds=1)
    assert list(found["clients"]) == ["hospital-a", "hospital-c"]
    assert found["client_test"]["missing"]["hospital-b"].startswith(
        "hospital-b holds other images than when this run began"
    )
    asked = [m for m in hospitals.grid.sent if m.metadata.dst_node_id == NODES["hospital-b"]]
    assert {message.metadata.message_type for message in asked} == {"query"}
