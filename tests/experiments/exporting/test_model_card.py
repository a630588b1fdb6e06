"""``fedskin export --card``: what a run's folder says, and what is not known, on one page."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.export import export_command
from experiments.exporting.exported_model import ExportedModel, ExportError
from experiments.exporting.model_card import model_card, sha256_of, write_model_card
from experiments.reporting.run_results import RunResults, read_run_results
from experiments.trained_model import TrainedModel
from models.backbones import build_backbone
from models.registry import find_backbone
from strategies.methods import METHODS
from tests.generated_campaign import write_campaign
from tests.support import state_of
from training.config import PATH_KEYS
from training.predictions import write_predictions
from training.run_folder import RunFolder
from training.weights import weights_sha256


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunResults:
    """A federated run of three clients, with figures and without a network."""
    base = tmp_path_factory.mktemp("card")
    names = write_campaign(base, rounds=2, backbones=["resnet18"])
    path = base / "trials" / next(name for name in names if name.startswith("simulate"))
    folder = RunFolder(path)
    classes = folder.manifest()["data"]["classes"]
    rows = pd.DataFrame({"image_id": list("abcdefg"), "label": classes, "lesion_id": ""})
    answers = np.random.default_rng(0).dirichlet(np.ones(7), 7).astype(np.float32)
    write_predictions(folder.predictions_path("global_test"), rows, answers, classes)
    return read_run_results(path)


@pytest.fixture(scope="module")
def exported(run: RunResults) -> ExportedModel:
    network = build_backbone("resnet18", 7, pretrained=False, image_size=32, seed=0)
    model = TrainedModel(
        run.config,
        run.classes,
        None,
        lambda: (state_of(network), None),
        uncalibrated="it is made up",
    )
    return ExportedModel(model, find_backbone("resnet18"), network)


def test_the_card_says_all_that_is_known(
    run: RunResults, exported: ExportedModel, tmp_path: Path
) -> None:
    file, path = tmp_path / "net.onnx", tmp_path / "card.md"
    file.write_bytes(b"a network")
    write_model_card(run.folder.path, exported, path, [file])
    card = path.read_text(encoding="utf-8")
    assert card.startswith(f"# Model card: {run.name}\n")
    assert "Research software. Not a medical device; not for diagnosis." in card
    assert "SYNTHETIC" in card
    assert f"sha256 of `net.onnx`: `{sha256_of(file)}`" in card
    weights, _ = exported.model.load()
    assert weights_sha256(dict(weights)) in card
    for client, about in run.manifest["clients"].items():
        splits = " | ".join(str(about[name]) for name in ("train", "validation", "test"))
        assert f"| {client} | {splits} |" in card
        n = run.metrics["clients"][client]["n"]
        assert any(client in line and f"| {n} " in line for line in card.splitlines())
    for heading in ("Licences", "Figures", "Limits", "How it was trained"):
        assert f"\n## {heading}\n" in card
    assert "not calibrated: it is made up" in card
    assert f"fedskin simulate {run.name}/config.toml --out NEW_DIR" in card
    assert 'backbone = "resnet18"' in card
    method = METHODS[run.config.strategy]
    assert f"- method: {method.title}: {method.paper}, {method.equation}\n" in card


def test_the_card_says_whose_the_clients_figures_are(
    run: RunResults, exported: ExportedModel
) -> None:
    """The card is about the shared model: ACC 98.76 and 12.34 are of that, others its clients'."""
    said = "All figures are of the shared model, also those of the hospitals"
    assert said not in model_card(run, exported, {})
    pooled, clients = run.metrics["client_test"], run.metrics["clients"]
    shared = {
        "client_test": {**pooled, "acc": 98.76},
        "clients": {**clients, "client-1": {**clients["client-1"], "acc": 12.34}},
    }
    test_sets = [replace(each, own=each.block is pooled) for each in run.test_sets]
    metrics = {**run.metrics, "shared": shared}
    metrics["ema"] = {"global_test": metrics["global_test"], "client_test": pooled}
    metrics["ema"]["shared"] = {**shared, "client_test": {**pooled, "acc": 87.65}}
    card = model_card(replace(run, metrics=metrics, test_sets=test_sets), exported, {})
    assert said in card
    rows = [line.split("|") for line in card.splitlines() if line.startswith("|")]
    acc = {cells[1].strip(): cells[3].strip() for cells in rows if len(cells) == 11}
    assert acc["client-1"] == "12.34"
    assert acc["all clients, pooled"] == "98.76"
    assert acc["all clients, pooled, moving average"] == "87.65"
    assert not [name for name in acc if "shared" in name], "there are no others to tell them from"
    assert "a model of its own" not in card
    assert "By class · clients' test splits, pooled" not in card, "the shared model's are not known"


def test_the_card_names_no_folder_of_this_machine(run: RunResults, exported: ExportedModel) -> None:
    card = model_card(run, exported, {})
    assert str(run.folder.path.parent) not in card
    assert [key for key in PATH_KEYS if f"\n{key} = " in card] == []


def test_a_model_file_has_no_card(exported: ExportedModel, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="knows nothing of its data"):
        write_model_card(tmp_path / "a.safetensors", exported, tmp_path / "card.md", [])
    with pytest.raises(ExportError, match="nothing to write"):
        export_command(tmp_path)
