"""Every benchmark runs from end to end; speed is not tested."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from benchmarks import (
    aggregation_cost,
    clip_bytes,
    clip_step,
    feature_extraction,
    federated_round,
    fedprox_step,
    gpu_check,
    gpu_speed,
    head_fitting,
    image_loading,
    kept_features_round,
    result_files,
    run_benchmarks,
    text_features_memory,
    timing,
    update_compression,
)
from benchmarks.result import Result, ratio

TINY = {
    "aggregation": partial(aggregation_cost.measure, backbone="resnet18"),
    "fedprox-step": partial(fedprox_step.measure, backbone="resnet18", image_size=32, batch_size=2),
    "image-store": partial(image_loading.measure, num_images=4, batch_size=2),
    "clip-step": partial(
        clip_step.measure,
        backbone="resnet18",
        text_encoder="ViT-B/32",
        image_size=32,
        batch_size=8,
    ),
    "heads": partial(head_fitting.measure, images=70, width=8, test_images=14),
}


def call(*arguments: str) -> str:
    app = typer.Typer()
    app.command()(run_benchmarks.main)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.slow
def test_every_benchmark_runs_and_leaves_its_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_benchmarks, "BENCHMARKS", dict.fromkeys(TINY, ""))
    monkeypatch.setattr(run_benchmarks, "find", TINY.__getitem__)
    threads = torch.get_num_threads()
    output = call("--repeats", "2", "--out", str(tmp_path))
    assert torch.get_num_threads() == threads
    (path,) = tmp_path.glob("*.json")
    content = json.loads(path.read_text())
    assert {"cpu", "cores", "memory_gb", "system"} == content["machine"].keys()
    rows = {row["name"]: row for row in content["results"]}
    assert {"aggregation", "fedprox-step", "image-store", "clip-step"} <= rows.keys()
    for row in rows.values():
        assert row["git_commit"] is None or len(row["git_commit"]) >= 40
        assert {"python", "torch", "flwr", "ray", "numpy"} <= row["versions"].keys()
        for side, numbers in row["samples"].items():
            assert len(numbers) == row["repeats"][side] > 0
    for side in (aggregation_cost.FLOWER, aggregation_cost.OURS):
        assert rows["aggregation"]["repeats"][side] == 2
    latest = (tmp_path / "latest.md").read_text()
    assert path.name in latest
    for name in rows:
        assert f"| {name} |" in latest
        assert name in output


def test_a_later_call_keeps_the_other_results_of_the_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one(name: str, value: float) -> list[Result]:
        samples = {"new": [value], "old": [1.0]}
        return [
            Result(
                name=name,
                compares="New over old.",
                value=ratio("new", "old", samples),
                unit="x",
                samples=samples,
                at_most=2.0,
            )
        ]

    values = {"a": 1.0, "b": 3.0}
    monkeypatch.setattr(run_benchmarks, "BENCHMARKS", dict.fromkeys(values, ""))
    monkeypatch.setattr(run_benchmarks, "find", lambda name: partial(one, name, values[name]))
    call("--out", str(tmp_path))
    values["a"] = 2.0
    call("a", "--out", str(tmp_path))
    (path,) = tmp_path.glob("*.json")
    rows = json.loads(path.read_text())["results"]
    assert [(row["name"], row["value"], row["met"]) for row in rows] == [
        ("a", 2, True),
        ("b", 3, False),
    ]


def test_an_unknown_name_is_refused() -> None:
    import typer

    with pytest.raises(typer.BadParameter, match="nonsense: known are federated-round"):
        run_benchmarks.main(["nonsense"])


def test_interleaving_alternates_who_comes_first() -> None:
    calls: list[str] = []
    sides = {name: partial(calls.append, name) for name in "ab"}
    seconds = timing.interleaved(sides, repeats=2)
    assert "".join(calls) == "abbaab"
    assert [len(numbers) for numbers in seconds.values()] == [2, 2]


@pytest.mark.slow
def test_a_federated_round_is_compared_with_the_same_work() -> None:
    # Not a network with BatchNorm: over so few values it magnifies the rounding of another number
    # of threads until the losses differ.
    results = federated_round.compare(
        repeats=1, simulations=1, images=60, backbone="convnext_t", image_size=32, batch_size=4
    )
    by_name = {result.name: result for result in results}
    rounds = by_name["federated-round"]
    # One steady round of one simulation, and one of the plain loops before and after it.
    assert {side: len(numbers) for side, numbers in rounds.samples.items()} == {
        federated_round.FEDERATED: 1,
        federated_round.PLAIN: 2,
    }
    assert rounds.details["training images"] == 36  # 60 % of 60
    assert rounds.at_most == 0.9
    reached = by_name["start-up"].details["seconds from the command, medians"]
    assert list(reached.values()) == sorted(reached.values())


def test_rounds_are_compared_for_few_and_for_many_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []

    def compare(repeats: int, **settings: object) -> list[str]:
        asked.append({"repeats": repeats, **settings})
        return ["rounds", "start-up"]

    monkeypatch.setattr(federated_round, "compare", compare)
    assert federated_round.measure(1) == ["rounds", "start-up", "rounds", "rounds"]
    many = asked[2]
    assert asked[0] == {"repeats": 1}
    assert asked[1]["backbone"] == many["backbone"] == "resnet18"
    assert (many["clients"], many["images"], many["at_most"]) == (30, 960, 1.0)


@pytest.mark.slow
def test_rounds_on_kept_features_are_measured() -> None:
    (result,) = kept_features_round.measure(repeats=2, images=60, backbone="resnet18")
    assert (len(result.samples[kept_features_round.SIDE]), result.at_most) == (2, 0.3)


@pytest.mark.slow
def test_features_are_extracted_and_a_second_head_starts() -> None:
    extraction, start = feature_extraction.measure(
        repeats=1, backbone="resnet18", image_size=32, batch_size=4, num_images=8
    )
    assert extraction.samples.keys() == {feature_extraction.OURS, feature_extraction.PLAIN}
    assert 0 < start.value < 60


@pytest.mark.slow
def test_bytes_of_federated_clip_are_counted() -> None:
    (result,) = clip_bytes.measure(
        repeats=1, backbone="resnet18", text_encoder="ViT-B/32", image_size=32
    )
    # Seven rows of 512 floats are 14 KB; 122 arrays have headers of 128 bytes, 15 KB.
    assert 14 < result.value < 32


def test_packed_updates_are_measured() -> None:
    """resnet18's arrays of two axes and more are nearly all of it: a half, and a quarter."""
    half, quarter = update_compression._bytes("resnet18", "all")
    assert (half.name, half.value) == ("wire-bytes-bfloat16", pytest.approx(0.5, abs=0.005))
    assert (quarter.name, quarter.value) == ("wire-bytes-int8", pytest.approx(0.25, abs=0.005))
    for result in update_compression._times("resnet18", 1):
        assert result.value > 0


def test_bytes_of_parts_are_measured() -> None:
    """resnet18's adapter and head: 36,903 + 3,591 of 11.2 million parameters."""
    found = update_compression._part_bytes("resnet18")
    assert found.value == pytest.approx((2 * 512 * 32 + 32 + 512 + 7 * 513) / 11.2e6, rel=0.01)
    _, packed = update_compression._bytes("resnet18", "adapter")
    assert packed.name == "wire-bytes-int8-adapter"
    assert packed.value < 0.27


def test_the_table_has_the_newest_of_every_day_and_machine(tmp_path: Path) -> None:
    def row(name: str, value: float, measured: str) -> dict[str, object]:
        result = Result(name=name, compares="", value=value, unit="x", samples={"a": [1.0]})
        under = {"git_commit": "c", "versions": {}, "load_before": 0}
        return {**result.to_dict(), "measured": measured, **under}

    for day, machine, results in (
        ("2026-01-02", "one", [row("b", 2.0, "2026-01-02T10:00")]),
        ("2026-01-02", "two", [row("a", 3.0, "2026-01-02T09:00"), row("b", 4.0, "2026-01-02T11")]),
        ("2026-01-01", "one", [row("a", 5.0, "2026-01-01T10:00")]),
    ):
        about = {"cpu": machine, "cores": 2, "memory_gb": 1.0, "system": "Linux"}
        content = {"date": day, "machine": about, "results": results}
        (tmp_path / f"{day}-{machine}.json").write_text(json.dumps(content))
    (tmp_path / "soak.json").write_text('{"runs": []}')
    lines = result_files.markdown(tmp_path).splitlines()
    table = [line for line in lines if line.startswith("| ")][1:]
    assert table == [
        "| a | 3 x |  |  | a 1 (1) | [2026-01-02](2026-01-02-two.json) |",
        "| b | 4 x |  |  | a 1 (1) | [2026-01-02](2026-01-02-two.json) |",
    ]
    assert sum("two, 2 cores" in line for line in lines) == 2


@pytest.mark.slow
def test_text_features_are_got_out_of_files_of_either_dtype() -> None:
    (result,) = text_features_memory.measure(encoder="RN50")
    assert result.samples.keys() == {"F32", "F16"}
    # RN50's text tower by hand: of width 512, 12 blocks of 12 x 512^2 weights and 13 x 512 biases
    # and norms, embeddings of 49408 tokens and 77 positions, the last norm and the projection to
    # 1024; and the logit scale.
    blocks = 12 * (12 * 512**2 + 13 * 512)
    parameters = blocks + (49408 + 77) * 512 + 2 * 512 + 512 * 1024 + 1
    assert result.details["megabytes of the text tower in float32"] == 4 * parameters / 1e6
    for extra in result.details["megabytes on top of the imported libraries"].values():
        assert 0 < extra < 4 * parameters / 1e6  # the tower never lies in memory whole


@pytest.mark.slow
def test_a_gpu_check_can_be_tried_on_a_cpu(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(gpu_check.main)
    options = ("--device", "cpu", "--small", "--out", str(tmp_path))
    result = CliRunner().invoke(app, ["timm:test_efficientnet", "timm:test_convnext", *options])
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "gpu.json").read_text())
    assert content["failures"] == {}
    assert content["backbones"].keys() == {"timm:test_efficientnet", "timm:test_convnext"}
    for figures in content["backbones"].values():
        errors = figures["errors"]
        # float32 on the device is the CPU's here, to the bit; both are near float64, bfloat16 not.
        assert errors["float32"] == errors["cpu float32"]
        assert errors["bfloat16"] == errors["cpu bfloat16"]
        assert 0 < errors["float32"][0] < 1e-4 < errors["bfloat16"][0]
        assert figures["repeats float32"] is True
        assert all(rate > 0 for rate in figures["speed"].values())
        assert figures["gigabytes float32"] > 0
        assert figures["planned gigabytes float32"] is None, "a plan is for a GPU"
    images = content["images"]
    assert (images["same_crops"], images["levels"]) == (True, 0)
    # Speed is not tested: the machine may be busy.
    timed = ("speed", "federated-round", "start-up")
    assert [name for name in content["missed"] if not name.startswith(timed)] == []
    rounds = content["federated round"][0]
    assert rounds["details"]["simulations with the same weights"] is True


def test_a_gpu_check_names_what_is_outside_its_bounds() -> None:
    good = {
        "float32": [1e-4, 1e-3, 1e-3],
        "bfloat16": [0.02, 0.8, 0.02],
        "cpu bfloat16": [0.01, 0.4, 0.01],
    }
    bad = {**good, "float32": [1e-4, float("nan"), 2e-3], "bfloat16": [0.02, 0.8, 0.03]}
    speed = gpu_speed.Speed(90, 90, 100, 1, 1, 1)
    fast = gpu_speed.Speed(95, 90, 100, 1, 1, 1)
    same = Result(name="r", compares="", value=0.5, unit="x", samples={}, at_most=0.9)
    figures = {
        "errors": {"a": good, "b": bad},
        "repeats bfloat16": {"a": True, "b": False},
        "gigabytes float32": {"a": 2.0, "b": 3.0, "not planned": 4.0},
        "planned gigabytes float32": {"a": 2.0, "b": 2.5, "not planned": None},
        "speed": {"a": fast, "b": speed},
        "images": {"": gpu_speed.Images(same_crops=False, levels=1.0, per_second=1)},
        "federated round": {
            "": [same, replace(same, name="s", value=1.0, details={gpu_check.SAME: False})]
        },
    }
    assert gpu_check.missed(figures) == {
        "float32 b: gradients": "error nan, at most 1.0e-03",
        "float32 b: weights": "error 2.0e-03, at most 1.0e-03",
        "bfloat16 b: weights": "error 3.0e-02, at most 2.0e-02",
        "bfloat16 b: two trainings": "have different bits",
        "float32 b: memory": "3.0 GB, 2.5 planned",
        "speed b: training": "0.90 of bare, at least 0.95",
        "images: crops": "differ from the CPU's",
        "s": "1 x, at most 0.9",
        "s: weights": "two simulations have different bits",
    }
    assert gpu_check.missed({}) == {}


def test_a_gpu_check_goes_on_after_a_failure_and_says_so() -> None:
    checks = gpu_check.Checks(minutes=1)
    assert checks.run("gigabytes", "vit_l_16", lambda: 1 // 0) is None
    assert checks.run("gigabytes", "resnet18", lambda: 2.5) == 2.5
    assert checks.failures == {
        "gigabytes vit_l_16": "ZeroDivisionError: integer division or modulo by zero"
    }
    over = gpu_check.Checks(minutes=-1)
    assert over.run("speed", "resnet18", lambda: 1.0) is None
    assert over.failures == {"speed resnet18": "not run: the time was over"}
