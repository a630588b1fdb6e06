"""What the comparison with other frameworks computes; neither they nor fedskin are run."""

from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from benchmarks.peers import comparison, environments, frameworks, work
from benchmarks.peers.measuring import Run, figures, tail
from data_partition.synthetic_ham10000 import write_ham10000
from models.registry import find_backbone
from training.config import ExperimentConfig
from training.epoch import train_epoch
from training.experiment_data import open_federated_data
from training.inference import Preprocessing
from training.randomness import derive_seed


def line(client: int, number: int, started: float, loss: float) -> dict[str, float]:
    return {"client": client, "round": number, "started": started, "ended": 0.0, "loss": loss}


# Two clients; the command began at 100.
LINES = [
    line(0, 1, 107.0, 2.0),
    line(1, 1, 106.0, 1.0),
    line(1, 2, 112.0, 0.5),
    line(0, 2, 110.0, 1.5),
    line(0, 3, 113.0, 1.0),
    line(1, 3, 113.5, 0.0),
]


def test_a_round_lasts_from_its_first_step_to_the_next_ones() -> None:
    seconds, start_up, losses = figures(LINES, 100.0, clients=2, rounds=3)
    assert seconds == [3.0]  # from 110 to 113: neither the first round nor the last counts
    assert start_up == 6.0
    assert losses == [1.5, 1.0, 0.5]


@pytest.mark.parametrize("lines", [[], LINES[:-1], [*LINES, LINES[0]]])
def test_a_client_that_did_not_train_once_in_every_round_is_an_error(lines: list[dict]) -> None:
    with pytest.raises(RuntimeError, match="that trained"):
        figures(lines, 100.0, clients=2, rounds=3)


def run(seconds: float, losses: list[float]) -> Run:
    return Run([seconds, seconds + 1, seconds + 5], 10 * seconds, int(seconds * 1e9), losses)


def test_each_figure_is_over_the_best_other_framework() -> None:
    runs = {
        frameworks.PLAIN: [run(1.0, [1.0, 0.5])],
        comparison.FEDSKIN: [run(3.0, [1.0, 0.5]), run(3.0, [1.0, 0.505])],
        "Flower": [run(7.0, [1.0, 0.5])],
        "NVFlare": [run(5.0, [1.0, 0.5])],
    }
    found = comparison.results(runs, {"FL4Health": "no such package\nat all"}, {})
    assert [result.name for result in found] == ["peers-round", "peers-start-up", "peers-memory"]
    rounds, start_up, memory = found
    assert rounds.samples[comparison.FEDSKIN] == [3.0, 4.0, 8.0] * 2
    assert rounds.value == pytest.approx(4 / 6)  # medians; NVFlare is the best, not the plain loop
    assert start_up.value == memory.value == pytest.approx(3 / 5)
    (differences,) = (value for key, value in rounds.details.items() if "largest" in key)
    assert differences[comparison.FEDSKIN] == pytest.approx(0.01)

    console = Console(width=100)
    with console.capture() as shown:
        console.print(comparison.table(found, {"FL4Health": "no such package\nat all"}))
    rows = [row.split() for row in shown.get().replace("│", " ").splitlines()]
    assert ["fedskin", "4", "30", "3000"] in rows
    assert ["FL4Health", "not", "measured", "no", "such", "package"] in rows


def test_a_framework_that_did_other_work_is_not_compared() -> None:
    with pytest.raises(RuntimeError, match=r"differ from the plain loop's by 3\.0 %"):
        comparison.loss_difference(run(1, [1.0, 0.515]), run(1, [1.0, 0.5]))
    with pytest.raises(RuntimeError, match="nan"):
        comparison.loss_difference(run(1, [float("nan")]), run(1, [1.0]))


def test_the_end_of_an_output_begins_with_a_line() -> None:
    assert tail("one\ntwo\nthree\n", 8) == "three"
    assert tail("short\n", 80) == "short"
    assert tail("x" * 9, 4) == "xxxx"


def test_what_a_shared_package_needs_is_shared_too() -> None:
    found = environments._closure("torch")
    assert {"torch", "sympy", "mpmath"} <= found  # sympy needs mpmath
    assert "optree" not in found  # an extra's


def test_what_an_extra_needs_is_shared_where_the_extra_is_asked_for() -> None:
    needs = ["a>=1", "b; extra == 'more'", "c; python_version < '3'"]
    assert [need.name for need in environments._apply(needs)] == ["a"]
    assert [need.name for need in environments._apply(needs, ["", "more"])] == ["a", "b"]


def test_the_written_batches_are_those_of_a_round(tmp_path: Path) -> None:
    write_ham10000(tmp_path / "data", 30)
    config = ExperimentConfig().replace(
        dataset="ham10000",
        data_dir=str(tmp_path / "data"),
        cache_dir=str(tmp_path / "cache"),
        image_size=32,
        batch_size=3,
        rounds=2,
    )
    data = open_federated_data(config)
    written = work._batches(config, data, 1)

    class Seeing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(1, 7)
            self.seen: list[Tensor] = []

        def forward(self, images: Tensor) -> Tensor:
            self.seen.append(images.clone())
            return self.head(images.mean(dim=(1, 2, 3))[:, None])

    network, spec = Seeing(), find_backbone(config.backbone)
    seed = derive_seed(config.seed, round_number=2, client_index=1, purpose="batches")
    train_epoch(
        network,
        data.split("client-1", "train"),
        torch.optim.SGD(network.parameters(), lr=0.1),
        batch_size=3,
        preprocessing=Preprocessing(32, spec.mean, spec.std),
        generator=torch.Generator().manual_seed(seed),
    )
    assert torch.equal(torch.cat(network.seen), torch.from_numpy(written["images-2"]))
    assert len(written["labels-2"]) == len(written["images-2"]) == 6  # 60 % of 10
    assert not torch.equal(
        torch.from_numpy(written["images-1"]), torch.from_numpy(written["images-2"])
    )
