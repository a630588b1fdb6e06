"""A network of HAM10000's classes, judged on photographs of another domain without some of them."""

import io
from pathlib import Path

import numpy as np
import pytest

from experiments.console import Console
from experiments.results import show_results
from tests.data_partition.layouts import picture, write
from tests.fl_server.clients_in_memory import run_in_memory
from training.metrics import recall_by_class
from training.run_folder import RunFolder

DIAGNOSES = ("ACK", "BCC", "SEK", "MEL", "NEV", "SCC")


@pytest.mark.usefixtures("flower_run")
def test_pad_ufes20_is_judged_over_the_classes_that_it_has(
    synthetic_ham: Path, cache: Path, tmp_path: Path
) -> None:
    """Twelve photographs, two of each diagnosis; squamous cell carcinoma is none of HAM10000's."""
    pad = tmp_path / "pad"
    rows = [f"PAT_{n},{n},{DIAGNOSES[n % 6]},PAT_{n}_{n}_1.png" for n in range(12)]
    write(pad / "metadata.csv", "\n".join(["patient_id,lesion_id,diagnostic,img_id", *rows]))
    for number in range(12):
        name = f"PAT_{number}_{number}_1.png"
        write(pad / "images" / name, picture(name, "PNG"))
    out = tmp_path / "run"
    metrics = run_in_memory(synthetic_ham, cache, out, rounds=1, test_dir=str(pad))
    block, data = metrics["global_test"], RunFolder(out).manifest()["data"]
    assert (block["n"], data["test_images"]) == (10, 10)
    recalls = recall_by_class(np.array(block["confusion"]))
    occurring = [found / of for found, of in recalls if of]
    assert len(occurring) == 5
    assert block["bacc"] == pytest.approx(100 * np.mean(occurring))
    notice = data["notices"][-1]
    assert notice == (
        "the test set has no images of df, vasc: BACC is the mean recall of the other 5 classes"
    )
    [aside] = data["test_set_aside"].values()
    assert sorted(aside) == ["PAT_11_11_1", "PAT_5_5_1"]
    labels = set(RunFolder(out).predictions("global_test")["label"])
    assert labels == {"akiec", "bcc", "bkl", "mel", "nv"}
    console = Console(file=io.StringIO(), width=100)
    show_results(console, RunFolder(out))
    assert notice in " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
