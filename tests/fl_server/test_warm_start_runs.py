"""Federations that begin with another run's weights, simulated and over sites."""

from pathlib import Path

import numpy as np
import pytest

from fl_server.federated_run import RunFailed
from tests.fl_server.clients_in_memory import Clients, run_in_memory
from tests.fl_server.hospitals import Hospitals
from training.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("flower_run")


@pytest.fixture(scope="module")
def source(synthetic_ham: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    out = tmp_path_factory.mktemp("source") / "run"
    run_in_memory(synthetic_ham, cache, out, rounds=1)
    return RunFolder(out)


@pytest.mark.slow
def test_a_federation_goes_on_from_there_and_an_interrupted_one_ends_the_same(
    source: RunFolder, synthetic_ham: Path, cache: Path, tmp_path: Path
) -> None:
    """At a rate of almost nothing, FedAvg of such weights is those weights, up to BatchNorm's."""
    keys = {"rounds": 2, "init_from": str(source.path), "learning_rate": 1e-30}
    run_in_memory(synthetic_ham, cache, tmp_path / "whole", **keys)
    whole = RunFolder(tmp_path / "whole")
    start = whole.manifest()["init_from"]
    assert (start["run"], start["round"]) == (str(source.path), 1)
    assert start["weights_sha256"] == source.metrics()["weights_sha256"]
    assert whole.manifest()["notes"][0].startswith("the first weights are the best ones of ")
    before, after = source.checkpoint.weights(1), whole.checkpoint.weights(2)
    for name in ("trunk.conv_stem.weight", "head.weight"):
        np.testing.assert_allclose(after[name], before[name], rtol=1e-6)
    for refused in (1, 2):
        out = tmp_path / f"interrupted-{refused}"
        with pytest.raises(RunFailed, match="not today"):
            run_in_memory(synthetic_ham, cache, out, Clients(refuses=refused), **keys)
        run_in_memory(synthetic_ham, cache, out, **keys)
        assert RunFolder(out).metrics() == whole.metrics()


def test_the_sites_see_nothing_of_it(
    source: RunFolder, hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sites refuse every path in a config."""
    hospitals.run(monkeypatch, rounds=1, init_from=source.path)
    start = hospitals.run_folder.manifest()["init_from"]
    assert start["weights_sha256"] == source.metrics()["weights_sha256"]
