"""The ledger: the contents of the run folders, without incomplete or foreign ones."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from data_partition.ham10000_tables import HAM10000_CLASSES
from experiments.campaigns.ledger import BY_CLASS, COLUMNS, Ledger, read_ledger, write_ledger
from experiments.reporting.campaign_tables import classes_of
from tests.experiments.campaigns.trials import edit, replace
from tests.runs import read_json
from training.config import DEFAULTS
from training.metrics import METRIC_NAMES
from training.scores import SCORES


@pytest.fixture(scope="module")
def ledger(campaign: Path) -> Ledger:
    return read_ledger(campaign)


def only(ledger: Ledger, **wanted: str) -> pd.DataFrame:
    table = ledger.table
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table


def test_a_row_for_each_trial_test_set_model_and_unit(ledger: Ledger) -> None:
    """6 of clip, 3 of them by patient too; 10 of simulate on 5 test sets each; 4 of heads."""
    assert ledger.set_aside == {}
    assert ledger.table["command"].value_counts().to_dict() == {
        "clip": 3 + 2 * 3,
        "simulate": 10 * 5,
        "heads": 4,
    }
    keys = ["trial", "test_set", "model", "unit"]
    assert not ledger.table.duplicated(keys).any()


def test_the_columns_are_always_the_same(ledger: Ledger, tmp_path: Path) -> None:
    """Also of a campaign that has not begun; a column for each key of a config comes last."""
    assert list(ledger.table) == list(COLUMNS)
    assert list(COLUMNS)[-len(DEFAULTS) :] == [f"config.{key}" for key in DEFAULTS]
    nothing = read_ledger(tmp_path)
    assert nothing.table.empty
    pd.testing.assert_series_equal(nothing.table.dtypes, ledger.table.dtypes)


def test_figures_are_those_of_the_best_model(campaign: Path, ledger: Ledger) -> None:
    for trial_id, rows in only(ledger, command="simulate").groupby("trial"):
        final = read_json(campaign / "trials" / str(trial_id) / "metrics.json")
        blocks = {k: final[k] for k in ("global_test", "client_test")} | final["clients"]
        assert rows["test_set"].tolist() == list(blocks)
        for (_, row), block in zip(rows.iterrows(), blocks.values(), strict=True):
            names = [*SCORES, "n"]
            assert row[names].tolist() == [block[name] for name in names]
            for score, figures in block["by_class"].items():
                columns = [f"{score}.{name}" for name in HAM10000_CLASSES]
                assert row[columns].tolist() == figures
        assert set(rows["best_round"]) == {final["best_round"]}
        assert set(rows["weights_sha256"]) == {final["weights_sha256"]}


def test_intervals_stand_beside_their_figures(campaign: Path, ledger: Ledger) -> None:
    """Of the global test set by image; the clients' test splits and patients have none."""
    bounds = ["avg_low", "avg_high"]
    for _, row in ledger.table.iterrows():
        final = read_json(campaign / "trials" / row["trial"] / "metrics.json")
        if row["test_set"] != "global_test" or row["unit"] == "patient":
            assert row[bounds].isna().all()
            continue
        block = final["global_test"] if row["model"] == "network" else final["heads"][row["model"]]
        assert row[bounds].tolist() == block["intervals"]["avg"]


def test_heads_stand_beside_the_network(campaign: Path, ledger: Ledger) -> None:
    rows = only(ledger, command="heads")
    final = read_json(campaign / "trials" / rows["trial"].iloc[0] / "metrics.json")
    assert rows["model"].tolist() == ["network", "knn", "svm", "rf"]
    assert rows["avg"].tolist() == [block["avg"] for block in final["heads"].values()]


def test_brain_scans_are_counted_by_slice_and_by_patient(ledger: Ledger) -> None:
    """The study's 68 test patients, of eight slices each; the clip runs alone are on them."""
    rows = ledger.table[ledger.table["config.dataset"] == "brats2019"]
    assert rows["unit"].tolist() == ["image", "patient"] * 3
    assert rows["n"].tolist() == [68 * 8, 68] * 3


def test_what_a_trial_took(campaign: Path, ledger: Ledger) -> None:
    """A generated federated round takes 51 s, an epoch 42.5 s; three clients' bytes go each way.

    A model of swin_t is 56 MB there: 50 and one for each letter of its name. Of a round, 5 s are
    transport.
    """
    moved = 3 * 3 * 56e6
    for command, seconds in (("simulate", 3 * 51.0), ("clip", 3 * 42.5)):
        rows = only(ledger, command=command)
        assert set(rows["seconds"]) == {seconds}
        assert set(rows["rounds"]) == {3}
        federated = {"bytes_sent": moved, "bytes_received": moved, "seconds_transport": 3 * 5.0}
        federated["seconds_waiting"] = 3 * 1.5
        for column, value in federated.items():
            if command == "simulate":
                assert set(rows[column]) == {value}
            else:
                assert rows[column].isna().all()
        manifest = read_json(campaign / "trials" / rows["trial"].iloc[0] / "manifest.json")
        first = rows.iloc[0]
        assert first["peak_memory"] == manifest["trial"]["peak_memory"]
        assert [first["started"], first["finished"]] == [manifest["started"], manifest["finished"]]


def test_where_the_images_and_the_text_come_from(ledger: Ledger) -> None:
    assert ledger.table["synthetic"].all()
    assert set(only(ledger, command="clip")["text_weights"]) == {"openai"}
    assert set(only(ledger, command="heads")["text_weights"]) == {""}
    assert ledger.table["fingerprint"].nunique() == 2


def test_rows_are_sorted_by_trial_never_by_time(campaign: Path, tmp_path: Path) -> None:
    """The folders are made again, the last one first."""
    for path in sorted((campaign / "trials").iterdir(), reverse=True):
        shutil.copytree(path, tmp_path / "trials" / path.name)
    found = read_ledger(tmp_path).table
    assert found["trial"].is_monotonic_increasing
    pd.testing.assert_frame_equal(found, read_ledger(campaign).table)


def test_classes_of_your_own_have_columns_at_the_end(
    three: dict[str, Path], tmp_path: Path
) -> None:
    own = {"nv": "wart", "bcc": "angioma"}

    def rename(manifest: dict[str, Any]) -> None:
        classes = manifest["data"]["classes"]
        manifest["data"]["classes"] = [own.get(name, name) for name in classes]

    edit(three["simulate"] / "manifest.json", rename)
    ledger = read_ledger(tmp_path)
    kinds = sorted(["recall", "support", *BY_CLASS])
    further = [f"{kind}.{name}" for kind in kinds for name in ("angioma", "wart")]
    assert list(ledger.table) == [*COLUMNS, *further]
    rows = only(ledger, command="simulate")
    assert rows["support.nv"].isna().all()
    assert classes_of(rows)[0] == "mel"
    assert set(own.values()) < set(classes_of(rows))


def test_whose_histograms_are_missing_stands_in_the_pooled_row(
    three: dict[str, Path], tmp_path: Path
) -> None:
    """The trial is complete, and the site's own row has no such score."""

    def silent(final: dict[str, Any]) -> None:
        final["client_test"]["no_histograms"] = {"client-1": "sends no histograms"}
        block = final["clients"]["client-1"]
        block |= {"auroc": None, "ece": None, "brier": None}
        block["by_class"]["auroc"] = [None] * 7

    edit(three["simulate"] / "metrics.json", silent)
    rows = only(read_ledger(tmp_path), command="simulate").set_index("test_set")
    assert rows["no_histograms"].to_dict() == {
        **dict.fromkeys(rows.index, ""),
        "client_test": "client-1",
    }
    assert rows.loc["client-1", ["auroc", "ece", "brier", "auroc.mel"]].isna().all()
    assert rows.loc["client-1", ["kappa", "mcc", "sensitivity.mel"]].notna().all()
    assert rows["complete"].all()


def test_clients_stand_in_the_runs_order(three: dict[str, Path], tmp_path: Path) -> None:
    """Twelve sites: client-10 comes after client-9."""
    names = [f"client-{index}" for index in range(12)]

    def more(final: dict[str, Any]) -> None:
        final["clients"] = dict.fromkeys(names, final["client_test"])
        final["participation"] = dict.fromkeys(names, 3)

    edit(three["simulate"] / "metrics.json", more)
    replace(three["simulate"] / "config.toml", "clients = 3", "clients = 12")
    rows = only(read_ledger(tmp_path), command="simulate")
    assert rows["test_set"].tolist() == ["global_test", "client_test", *names]


def test_recall_by_class_is_that_of_the_counts(campaign: Path, ledger: Ledger) -> None:
    """Melanoma first; classes of another data set have neither recall nor images."""
    first = [name for name in COLUMNS if name.startswith("recall.")][:2]
    assert first == ["recall.mel", "recall.HGG"]
    for _, row in only(ledger, test_set="global_test").iterrows():
        final = read_json(campaign / "trials" / row["trial"] / "metrics.json")
        block = final["global_test"] if row["model"] == "network" else final["heads"][row["model"]]
        block = block if row["unit"] == "image" else block["patients"]
        skin = row["config.dataset"] == "ham10000"
        label, other, index = ("mel", "HGG", 4) if skin else ("HGG", "mel", 0)
        counts = block["confusion"][index]
        assert row[f"support.{label}"] == sum(counts)
        assert row[f"recall.{label}"] == pytest.approx(100 * counts[index] / sum(counts))
        assert pd.isna(row[f"recall.{other}"])
        assert pd.isna(row[f"support.{other}"])
        assert row["bacc_classes"] == len(block["confusion"])
        recalls = row[[name for name in COLUMNS if name.startswith("recall.")]].dropna()
        assert row["bacc"] == pytest.approx(recalls.mean())


def test_a_trial_that_lost_a_client_is_not_complete(three: dict[str, Path], tmp_path: Path) -> None:
    """client-1 missed a round, client-2 the judging: it keeps a row, without figures."""

    def lose(final: dict[str, Any]) -> None:
        del final["clients"]["client-2"]
        final["participation"]["client-1"] = 2
        final["client_test"]["missing"] = {"client-2": "its process died"}

    edit(three["simulate"] / "metrics.json", lose)
    table = read_ledger(tmp_path).table
    rows = table[table["command"] == "simulate"].set_index("test_set")
    assert not rows["complete"].any()
    said = "client-1: in 2 of 3 rounds; client-2: not in the pooled test figures"
    assert set(rows["absences"]) == {said}
    assert rows["clients_missing"].to_dict() == {
        **dict.fromkeys(("global_test", "client-0", "client-1"), ""),
        **dict.fromkeys(("client_test", "client-2"), "client-2"),
    }
    clients = [f"client-{index}" for index in range(3)]
    assert rows.loc[clients, "client_rounds"].tolist() == [3, 2, 3]
    assert rows.loc["client-2", ["n", "avg"]].isna().tolist() == [False, True]
    others = table[table["command"] != "simulate"]
    assert others["complete"].all()
    assert others[["client_rounds", "client_rounds_asked"]].isna().all(axis=None)


def test_a_client_that_a_round_did_not_ask_is_not_missing(
    three: dict[str, Path], tmp_path: Path
) -> None:
    """Two of three a round: client-1 took part in each that asked it, client-2 missed one."""
    run = three["simulate"]
    asked = {"client-0": 3, "client-1": 1, "client-2": 2}
    edit(
        run / "metrics.json",
        lambda final: final.update(participation={**asked, "client-2": 1}, sampled=asked),
    )
    config = (run / "config.toml").read_text("utf-8")
    (run / "config.toml").write_text(
        config.replace("clients-per-round = 0", "clients-per-round = 2"), "utf-8"
    )
    table = read_ledger(tmp_path).table
    rows = table[table["command"] == "simulate"].set_index("test_set")
    assert set(rows["absences"]) == {"client-2: in 1 of 2 rounds that asked it"}
    assert rows.loc[list(asked), "client_rounds"].tolist() == [3, 1, 1]
    assert rows.loc[list(asked), "client_rounds_asked"].tolist() == [3, 1, 2]


def test_patients_of_fewer_clients_name_who_is_missing(
    three: dict[str, Path], tmp_path: Path
) -> None:
    """client-1 sends its images' counts only: it is in the row by image and not by patient."""

    def withhold(final: dict[str, Any]) -> None:
        missing = {"client-1": "sends no counts of patients"}
        final["client_test"]["patients"] = {**final["client_test"], "missing": missing}

    edit(three["simulate"] / "metrics.json", withhold)
    rows = only(read_ledger(tmp_path), command="simulate")
    assert set(rows["absences"]) == {"client-1: not in the pooled test figures by patient"}
    pooled = rows[rows["test_set"] == "client_test"].set_index("unit")
    assert pooled["clients_missing"].to_dict() == {"image": "", "patient": "client-1"}


def test_no_test_images_no_figures(three: dict[str, Path], tmp_path: Path) -> None:
    """A client whose test split is empty, and a run without a global test set."""

    def without(final: dict[str, Any]) -> None:
        del final["global_test"]
        nothing = {"n": 0, "confusion": [[0] * 7] * 7}
        final["clients"]["client-1"] |= {**dict.fromkeys(METRIC_NAMES), **nothing}

    edit(three["simulate"] / "metrics.json", without)
    rows = only(read_ledger(tmp_path), command="simulate").set_index("test_set")
    assert list(rows.index) == ["client_test", "client-0", "client-1", "client-2"]
    assert rows.loc["client-1", list(METRIC_NAMES)].isna().all()
    assert rows.loc["client-1", "n"] == rows.loc["client-1", "bacc_classes"] == 0
    assert rows["complete"].all(), "the client has no test images, but missed nothing"


def test_what_is_not_finished_has_no_rows(three: dict[str, Path], tmp_path: Path) -> None:
    """It is no fault either, so nothing is set aside: the campaign continues with it."""
    edit(three["simulate"] / "manifest.json", lambda m: m.update(status="failed"))
    (three["clip"] / "manifest.json").unlink()
    edit(three["heads"] / "metrics.json", lambda m: m.pop("heads"))
    (tmp_path / "trials" / "clip-swin_b-0123456789ab").mkdir()
    found = read_ledger(tmp_path)
    assert found.table.empty
    assert found.set_aside == {}


def test_a_file_among_the_trials_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / "trials").mkdir()
    (tmp_path / "trials" / "notes.txt").write_text("precious", encoding="utf-8")
    assert read_ledger(tmp_path).set_aside == {}


def test_a_word_and_a_number_of_one_key_make_one_column(
    three: dict[str, Path], tmp_path: Path
) -> None:
    """svm-gamma is a word or a number: text in the ledger, or no Parquet file could hold it."""
    replace(three["heads"] / "config.toml", 'svm-gamma = "scale"', "svm-gamma = 0.25")
    ledger = read_ledger(tmp_path)
    assert set(ledger.table["config.svm-gamma"]) == {"scale", "0.25"}
    write_ledger(tmp_path, ledger)


def test_the_files_hold_the_table(ledger: Ledger, tmp_path: Path) -> None:
    """Parquet to the last bit and type; CSV to the last bit, with nothing where there is none."""
    write_ledger(tmp_path, ledger)
    assert {path.name for path in tmp_path.iterdir()} == {"ledger.parquet", "ledger.csv"}
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "ledger.parquet"), ledger.table, check_exact=True
    )
    read = pd.read_csv(
        tmp_path / "ledger.csv",
        keep_default_na=False,
        na_values={"avg_low": "", "bytes_sent": ""},
        float_precision="round_trip",
    )
    assert list(read) == list(ledger.table)
    for column in ("trial", "avg", "avg_low", "bytes_sent", "config.learning-rate"):
        pd.testing.assert_series_equal(read[column], ledger.table[column], check_exact=True)
