"""``make gpu-check``: what a machine with CUDA does, in one table and one JSON file.

For a bare machine with CUDA and PyTorch and without a network, in at most eight minutes. For every
backbone:

- **errors** of a training step at 64 pixels (or the only size that it takes) against float64 on the
  CPU: float32 as a run computes it, with TF32, and under bfloat16's autocast, beside the CPU's;
- whether two trainings have **the same bits**;
- **peak memory** of training with AdamW, 32 images of 224 pixels, float32 and bfloat16, and whether
  it is within what a simulation plans for a client;
- **images per second** in bfloat16 of a training epoch from an image store, of evaluation and of
  feature extraction, beside a bare loop on batches that are already on the GPU, with PyTorch's own
  kernels; training also beside that loop with the kernels that a run asks for.

Before them, what becomes of **stored images** on the GPU: whether crops have the CPU's bits, and
how many images a second become a network's input. Between them, real simulations: three clients on
one GPU beside the plain loop, twice, with the same weights (`benchmarks.federated_round`). Errors,
bits and memory are found in several processes at once, because the CPU's side takes most of the
time, and in half of the minutes at most; nothing else runs beside what is timed. A check that fails
is a line of its own, and the others still run. What is outside its bound or target is a line, too.
"""

import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from functools import partial
from multiprocessing.pool import AsyncResult
from pathlib import Path
from typing import Annotated, Any

import joblib
import torch
import typer
from rich.table import Table

from benchmarks import federated_round, gpu_networks, gpu_speed, machine
from benchmarks.federated_round import SAME
from benchmarks.gpu_networks import BFLOAT16, CPU_BFLOAT16, FLOAT32, TF32
from benchmarks.result import Result
from benchmarks.result_files import RESULTS
from experiments.console import Console
from models.registry import BACKBONES, find_backbone
from operation.files import write_json

# The most that float32's error may be, of logits, gradients and weights: rounding differs between
# devices, and a deep network multiplies it.
BOUNDS = (1e-4, 1e-3, 1e-3)
# The most that bfloat16's may be, in errors of bfloat16 on the CPU. They have no common bound:
# BatchNorm over a few values makes 0.4 of rounding in resnet18's gradients, convnext_t has 0.007.
TIMES_CPU = 2.0
# Levels of 255 between a resized image on the GPU, computed in float32, and on the CPU.
MOST_LEVELS = 1.01
LEAST_OF_BARE = 0.95
# Of the processes that find errors, bits and memory.
CORES_OF_A_PROCESS, MEMORY_OF_A_PROCESS = 4, 30e9

console = Console(width=150)


class Checks:
    """The figures found so far, by check and backbone, and what failed."""

    def __init__(self, minutes: float) -> None:
        self.end = time.monotonic() + 60 * minutes
        self.started = time.monotonic()
        self.figures: dict[str, dict[str, Any]] = {}
        self.failures: dict[str, str] = {}
        self.seconds: dict[str, float] = {}

    def run(self, name: str, subject: str, call: Callable[[], Any], part: str = "") -> Any:
        """Keep what ``call`` returns, or why it failed; None if it failed or time is over.

        Its seconds are added to those of ``part`` of the check, or of this name.
        """
        before = time.monotonic()
        if before > self.end:
            self.failures[f"{name} {subject}"] = "not run: the time was over"
            return None
        try:
            found = call()
        # Whatever a library raises on a machine that nobody tried: one check's failure is a figure.
        except Exception as error:  # noqa: BLE001
            self.failures[f"{name} {subject}"] = f"{type(error).__name__}: {str(error)[:300]}"
            console.print(f"FAILED {name} {subject}: {self.failures[f'{name} {subject}']}")
            return None
        finally:
            part = part or name
            self.seconds[part] = self.seconds.get(part, 0.0) + time.monotonic() - before
        self.figures.setdefault(name, {})[subject] = found
        return found


def main(
    backbones: Annotated[
        list[str] | None, typer.Argument(metavar="[BACKBONE]...", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option(help="cuda, or cpu to try the checks.")] = "cuda",
    minutes: Annotated[float, typer.Option(help="No check starts after these.")] = 7.5,
    small: Annotated[bool, typer.Option(help="Images of 32 pixels, two batches of four.")] = False,
    runs: Annotated[bool, typer.Option(help="Also run simulations.")] = True,
    out: Annotated[Path, typer.Option(help="The JSON file's folder.")] = RESULTS,
) -> None:
    """Check this machine's GPU with these BACKBONEs, or all."""
    if device == "cuda" and not torch.cuda.is_available():
        raise typer.BadParameter("PyTorch finds no CUDA here; --device cpu tries the checks")
    names = backbones or list(BACKBONES)
    checks = Checks(minutes)
    sizes = {"image_size": 32} if small else {}
    checks.run("images", "", lambda: gpu_speed.stored_images(device, **sizes))
    few = {"image_size": 32, "batch_size": 4} if small else {}
    _check_numbers(names, checks, device, sizes, few)
    if runs:
        checks.run("federated round", "", lambda: _simulations(device, small))
    times = {"batches": 2, "repeats": 1} if small else {}
    for name in names:
        checks.run("speed", name, lambda n=name: gpu_speed.speed(n, device, **few, **times))
    _report(names, checks, device, out)


def _check_numbers(
    names: Sequence[str],
    checks: Checks,
    device: str,
    sizes: Mapping[str, int],
    few: Mapping[str, int],
) -> None:
    workers = max(1, joblib.cpu_count() // CORES_OF_A_PROCESS)
    if device == "cuda":
        memory = torch.cuda.get_device_properties(0).total_memory
        workers = max(1, min(workers, int(memory / MEMORY_OF_A_PROCESS)))
    end = (time.monotonic() + checks.end) / 2

    def answer_of(answer: AsyncResult) -> Any:
        try:
            return answer.get(max(0.0, end - time.monotonic()))
        except multiprocessing.TimeoutError:
            raise RuntimeError("not finished in half of the time") from None

    threads = max(1, joblib.cpu_count() // workers)
    spawned = multiprocessing.get_context("spawn")
    # What is not finished is ended with the pool.
    with spawned.Pool(workers, torch.set_num_threads, (threads,)) as pool:
        # Those that take no small images take longest.
        longest_first = sorted(names, key=lambda name: -(find_backbone(name).fixed_image_size or 0))
        asked = {}
        for name in longest_first:
            asked["errors", name] = pool.apply_async(gpu_networks.errors, (name, device), sizes)
            for precision in (FLOAT32, BFLOAT16):
                arguments = (name, device, precision)
                for check, function, keywords in (
                    ("repeats", gpu_networks.repeats_itself, sizes),
                    ("gigabytes", gpu_networks.peak_gigabytes, few),
                    ("planned gigabytes", gpu_networks.planned_gigabytes, few),
                ):
                    answer = pool.apply_async(function, arguments, keywords)
                    asked[f"{check} {precision}", name] = answer
        for (check, name), answer in asked.items():
            checks.run(check, name, partial(answer_of, answer), part="errors, bits and memory")


def _simulations(device: str, small: bool) -> list[Result]:
    sizes: Mapping[str, Any] = (
        {"image_size": 32, "images": 48, "batch_size": 8}
        if small
        else {"image_size": 224, "images": 1920, "batch_size": 32}
    )
    return federated_round.compare(
        2,
        simulations=2,
        device=device,
        precision=BFLOAT16 if device == "cuda" else FLOAT32,
        **sizes,
    )


def _report(names: Sequence[str], checks: Checks, device: str, out: Path) -> None:
    found = checks.figures
    table = Table(
        "backbone",
        "float32",
        "TF32",
        "bfloat16",
        "repeats",
        "GB",
        "images/s",
        "÷ bare",
        "÷ exact",
        "evaluation",
        "extraction",
        "÷ bare forward",
    )
    for name in names:
        table.add_row(name, *_cells(name, found))
    console.print(table)
    console.print(
        "Errors of logits, gradients, weights after a step; repeats: float32, bfloat16; GB and "
        "images/s: batches of 32, 224 pixels; ÷ exact: over the bare loop with a run's kernels"
    )
    results = [result.to_dict() for result in found.get("federated round", {}).get("", [])]
    for result in results:
        console.print(
            f"{result['name']}: {result['value']:.3g} {result['unit']} {result['medians']}"
        )
    images = found.get("images", {}).get("")
    if images:
        console.print(f"Images from store to input, per second: {images.per_second:.0f}")
    beyond = missed(found)
    for what, why in beyond.items():
        console.print(f"MISSED {what}: {why}")
    for what, why in checks.failures.items():
        console.print(f"FAILED {what}: {why}")
    about = machine.describe()
    content = {
        **about,
        "device": device,
        "gpu": _gpu() if device == "cuda" else None,
        "bounds": {FLOAT32: BOUNDS, f"{BFLOAT16} in errors of the CPU's": TIMES_CPU},
        "seconds": {**checks.seconds, "all": time.monotonic() - checks.started},
        "failures": checks.failures,
        "missed": beyond,
        "images": _plain(images),
        "backbones": {
            name: {check: _plain(by[name]) for check, by in found.items() if name in by}
            for name in names
        },
        "federated round": results,
    }
    path = out / "gpu.json"
    write_json(path, content)
    console.print(f"Written to {path}")


def missed(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return what is outside its bound or target: the figure and what it should be, by its name."""
    found = {}
    for name, sides in figures.get("errors", {}).items():
        of_cpu = [TIMES_CPU * error for error in sides[CPU_BFLOAT16]]
        for side, bounds in ((FLOAT32, BOUNDS), (BFLOAT16, of_cpu)):
            parts = ("logits", "gradients", "weights")
            for part, error, bound in zip(parts, sides[side], bounds, strict=True):
                if not error <= bound:  # also NaN
                    found[f"{side} {name}: {part}"] = f"error {error:.1e}, at most {bound:.1e}"
    for precision in (FLOAT32, BFLOAT16):
        for name, same in figures.get(f"repeats {precision}", {}).items():
            if not same:
                found[f"{precision} {name}: two trainings"] = "have different bits"
        planned = figures.get(f"planned gigabytes {precision}", {})
        for name, used in figures.get(f"gigabytes {precision}", {}).items():
            if planned.get(name) is not None and used > planned[name]:
                found[f"{precision} {name}: memory"] = f"{used:.1f} GB, {planned[name]:.1f} planned"
    for name, speed in figures.get("speed", {}).items():
        share = speed.training / speed.bare_training
        if share < LEAST_OF_BARE:
            found[f"speed {name}: training"] = f"{share:.2f} of bare, at least {LEAST_OF_BARE:g}"
    for images in figures.get("images", {}).values():
        if not images.same_crops:
            found["images: crops"] = "differ from the CPU's"
        if not images.levels <= MOST_LEVELS:
            found["images: resized"] = f"{images.levels:.2f} levels off, at most {MOST_LEVELS:g}"
    for result in figures.get("federated round", {}).get("", []):
        if result.met is False:
            found[result.name] = f"{result.value:.3g} {result.unit}, {result.target}"
        if result.details.get(SAME) is False:
            found[f"{result.name}: weights"] = "two simulations have different bits"
    return found


def _gpu() -> dict[str, Any]:
    facts = torch.cuda.get_device_properties(0)
    return {
        "name": facts.name,
        "memory_gb": round(facts.total_memory / 1e9, 1),
        "count": torch.cuda.device_count(),
        "cuda": torch.version.cuda,
    }


def _cells(name: str, found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    def of(check: str) -> Any:
        return found.get(check, {}).get(name)

    errors = of("errors") or {}
    cells = []
    for side in (FLOAT32, TF32, BFLOAT16):
        worst = errors.get(side)
        text = " ".join(f"{x:.0e}" for x in worst) if worst else "–"
        cells.append(text)
    repeats = [of(f"repeats {precision}") for precision in (FLOAT32, BFLOAT16)]
    gigabytes = [of(f"gigabytes {precision}") for precision in (FLOAT32, BFLOAT16)]
    speed = of("speed")
    return [
        *cells,
        ", ".join("–" if same is None else "yes" if same else "NO" for same in repeats),
        ", ".join("–" if x is None else f"{x:.1f}" for x in gigabytes),
        *(
            ["–"] * 6
            if speed is None
            else [
                f"{speed.training:.0f}",
                f"{speed.training / speed.bare_training:.2f}",
                f"{speed.training / speed.bare_exact:.2f}",
                f"{speed.evaluation:.0f}",
                f"{speed.extraction:.0f}",
                f"{speed.extraction / speed.bare_forward:.2f}",
            ]
        ),
    ]


def _plain(figure: Any) -> Any:
    return asdict(figure) if is_dataclass(figure) else figure


if __name__ == "__main__":
    # A traceback with local variables would print, and copy, gigabytes of arrays.
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
