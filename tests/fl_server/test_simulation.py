"""Whole simulated runs, on real SuperLinks and Ray: the guarantees of a run."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fl_server.simulation import SimulationFailed
from fl_server.simulation_superlink import SuperLink
from operation.processes import processes_of
from strategies.arrays import num_bytes
from strategies.layout import Layout
from tests.runs import run_tiny, tiny_config, warm_superlink
from training.run_folder import RunFolder

pytestmark = pytest.mark.slow

ROUNDS = 2


@pytest.fixture(scope="module")
def superlink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SuperLink]:
    """One SuperLink for all runs of this module: it can be reused, and that saves time."""
    with warm_superlink(tmp_path_factory.mktemp("superlink") / "flower.log") as shared:
        yield shared
    assert processes_of(shared.token) == []


@pytest.fixture(scope="module", params=["classifier", "clip"])
def objective(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def three_side_by_side(
    objective: str,
    superlink: SuperLink,
    synthetic_ham: Path,
    cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> RunFolder:
    out = tmp_path_factory.mktemp("runs") / "side-by-side"
    config = tiny_config(synthetic_ham, cache, objective=objective, rounds=ROUNDS)
    # Placed as on two GPUs, two clients on one of them; they compute on the CPU.
    run_tiny(superlink, config, out, concurrency=3, gpu_fraction=0.5, gpus=2)
    return RunFolder(out)


def test_result_does_not_depend_on_how_many_clients_run_side_by_side(
    objective: str,
    superlink: SuperLink,
    synthetic_ham: Path,
    cache: Path,
    tmp_path: Path,
    three_side_by_side: RunFolder,
) -> None:
    config = tiny_config(synthetic_ham, cache, objective=objective, rounds=ROUNDS)
    one_by_one = run_tiny(superlink, config, tmp_path / "run", concurrency=1)
    assert one_by_one == three_side_by_side.metrics()


def test_fedprox_without_its_term_is_fedavg(
    objective: str,
    superlink: SuperLink,
    synthetic_ham: Path,
    cache: Path,
    tmp_path: Path,
    three_side_by_side: RunFolder,
) -> None:
    changes = {"strategy": "fedprox", "objective": objective, "rounds": ROUNDS}
    without = tiny_config(synthetic_ham, cache, proximal_mu=0.0, **changes)
    assert run_tiny(superlink, without, tmp_path / "0") == three_side_by_side.metrics()
    if objective == "classifier":
        strong = tiny_config(synthetic_ham, cache, proximal_mu=1.0, **changes)
        held_back = run_tiny(superlink, strong, tmp_path / "1")
        assert held_back["weights_sha256"] != three_side_by_side.metrics()["weights_sha256"]


def test_only_image_encoders_travel_and_a_little_text(
    objective: str, three_side_by_side: RunFolder
) -> None:
    """Seven rows of 512 float32 numbers are 14 KiB; the widest text encoder's are 28."""
    weights = three_side_by_side.checkpoint.weights(ROUNDS)
    encoder = num_bytes(Layout.of(weights).flatten(weights))
    rounds = three_side_by_side.rounds()
    assert len(rounds) == ROUNDS
    for record in rounds:
        assert record["bytes_received"] == 3 * encoder
        text = record["bytes_sent"] // 3 - encoder
        assert 14 << 10 < text < 16 << 10 if objective == "clip" else text == 0


def test_diverged_training_ends_as_failed_with_its_cause(
    superlink: SuperLink, synthetic_ham: Path, cache: Path, tmp_path: Path
) -> None:
    config = tiny_config(synthetic_ham, cache, learning_rate=1e30)
    with pytest.raises(SimulationFailed, match=r"round 1: 0 of 3 .*the training loss became nan"):
        run_tiny(superlink, config, tmp_path / "run")
    manifest = RunFolder(tmp_path / "run").manifest()
    assert manifest["status"] == "failed"
    assert "learning-rate" in manifest["cause"]
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_a_federation_of_one_and_a_run_without_test_set(
    superlink: SuperLink, synthetic_ham: Path, cache: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in ("HAM10000_images_part_1", "HAM10000_images_part_2", "HAM10000_metadata.csv"):
        (data / name).symlink_to(synthetic_ham / name)
    metrics = run_tiny(superlink, tiny_config(data, cache, clients=1, rounds=1), tmp_path / "run")
    assert "global_test" not in metrics
    assert list(metrics["clients"]) == ["client-0"]
    assert not list((tmp_path / "run").glob("predictions-*"))


def test_another_user_of_this_machine_runs_no_code_in_its_ray(
    superlink: SuperLink, synthetic_ham: Path, cache: Path, tmp_path: Path
) -> None:
    """While a run goes on, its Ray answers on 127.0.0.1, but only who knows its secret."""
    join = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1])"
    stranger = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    said: list[str] = []

    def knock(folder: RunFolder) -> None:
        if said or not folder.checkpoint.progress().round:
            return
        newest = max(superlink.home.glob("ray-*"), key=lambda file: file.stat().st_mtime)
        words = [sys.executable, "-c", join, newest.read_text(encoding="utf-8")]
        for known in ({}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "guessed"}):
            refused = subprocess.run(
                words, env={**stranger, **known}, capture_output=True, text=True, timeout=120
            )
            assert refused.returncode == 1
            said.append(refused.stderr)

    run_tiny(superlink, tiny_config(synthetic_ham, cache), tmp_path / "run", watch=knock)
    assert len(said) == 2
    assert all("AuthenticationError" in one for one in said)
