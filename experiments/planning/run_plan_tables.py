"""The plan of one run as tables."""

from collections.abc import Iterable, Iterator

import joblib
import pandas as pd
import psutil
from rich.table import Table
from rich.text import Text

from data_partition.synthetic_folder import NOTICE
from experiments.console import Console
from experiments.display import counting, show_notices
from experiments.figures_table import megabytes
from experiments.planning.estimate import num_judged
from experiments.planning.run_plan import RunPlan, plan_run
from experiments.planning.traffic import Traffic
from experiments.planning.words import duration, fine_duration, gigabytes, room_lines
from operation.text import counted
from training.calibration import too_few_images
from training.config import PATH_KEYS, ExperimentConfig, defaults
from training.release import cache_dir
from training.run_folder import RunFolder

_NONE = "–"


def show_run_plan(
    console: Console, command: str, wanted: ExperimentConfig, folder: RunFolder
) -> None:
    """Plan a run on this machine, and print the plan.

    Args:
        wanted: as the user wrote it, with absolute paths.
        folder: the run's; it does not exist.

    Raises:
        ConfigError, DataError, RunFolderError, TrainingError, WeightsError: see `plan_run`.
    """
    with counting(console, "Measuring training steps") as progress:
        plan = plan_run(command, wanted, progress)
    if plan.synthetic:
        console.say(NOTICE, style="bold")
    show_notices(console, plan.notices)
    show_config(console, plan.wanted, plan.config)
    console.print(_images_table(plan))
    if plan.division.to_decode:
        console.say(
            "Counted in the tables; images that turn out to be damaged are left out when they are "
            "decoded"
        )
    console.print(_memory_table(plan))
    console.print(_disk_table(plan))
    if plan.traffic is not None:
        console.print(traffic_table(plan.traffic, plan.asked, plan.config))
    console.print(_time_table(plan))
    for line in _notes(plan, folder):
        console.say(line)


def show_config(console: Console, wanted: ExperimentConfig, config: ExperimentConfig) -> None:
    """Print a config: what was set, what ``auto`` means here, and in one line each other key."""
    default, before, values = defaults(config.to_flat()), wanted.to_flat(), config.to_flat()
    table = plan_table("Config", "key", "value", "default")
    others = []
    for key, value in values.items():
        if key == "run-dir" or (value == default[key] and before[key] == default[key]):
            others.append(f"{key} = {_shown(value)}")
        elif before[key] != default[key]:
            table.add_row(key, Text(_shown(value)), _shown(default[key]), style="bold")
    for key, value in values.items():
        if before[key] == default[key] != value:
            table.add_row(key, Text(_shown(value)), _shown(default[key]))
    console.print(table)
    named = [line for line in others if not line.startswith(tuple(f"{k} =" for k in PATH_KEYS))]
    console.print(Text(f"As by default: {', '.join(named)}", "dim"), highlight=False)
    console.print()


def traffic_table(traffic: Traffic, asked: int, config: ExperimentConfig) -> Table:
    """Return the table of megabytes.

    Args:
        asked: clients that train in a round.
    """
    table = plan_table("Communication, in megabytes", "", "to clients", "from clients")
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row("a client, a round", megabytes(traffic.down), megabytes(traffic.up))
    for name, times in (("a round", asked), (f"{config.rounds} rounds", asked * config.rounds)):
        table.add_row(name, megabytes(times * traffic.down), megabytes(times * traffic.up))
    judged = num_judged(config) * config.clients * traffic.judged
    table.add_row("judging at the end", megabytes(judged), _NONE)
    return table


def machine_notes(to_download: Iterable[str]) -> Iterator[str]:
    """Yield what is to be downloaded, and whether other programs use the machine now."""
    for line in to_download:
        yield f"To be downloaded: {line}"
    load, cores = psutil.getloadavg()[0], joblib.cpu_count()
    if load > cores / 2:
        yield (
            f"Other programs use this machine now (load {load:.0f} on {cores} cores); the times "
            "are for a machine without other work"
        )


def _images_table(plan: RunPlan) -> Table:
    by_class = plan.division.table
    table = plan_table("Images", "client", "split")
    for name in (*by_class.columns, "all"):
        table.add_column(str(name), justify="right", overflow="fold")
    several = by_class.index.unique("client").size > 1
    for client in by_class.index.unique("client"):
        of_client, name = by_class.loc[client], str(client)
        if source := plan.division.sources.get(name):
            name = f"{name} ({source})"
        for place, (split, numbers) in enumerate(of_client.iterrows()):
            if numbers.sum() or several:
                _add_counts(table, name if place == 0 else "", str(split), numbers)
    if several:
        for split, numbers in by_class.groupby(level="split", sort=False).sum().iterrows():
            name = "all clients" if split == "train" else ""
            _add_counts(table, name, str(split), numbers)
    counts = plan.division.counts
    blank = [""] * len(by_class.columns)
    if counts.test:
        table.add_row("global test set", "", *blank, str(counts.test))
    if counts.left_out:
        table.add_row(Text(f"left out: {plan.config.leave_out}"), "", *blank, str(counts.left_out))
    return table


def _add_counts(table: Table, client: str, split: str, numbers: pd.Series) -> None:
    table.add_row(Text(client), split, *map(str, numbers), str(numbers.sum()))


def _memory_table(plan: RunPlan) -> Table:
    memory, config = plan.memory, plan.config
    table = plan_table("Memory", "", "", "estimated from")
    table.columns[1].justify = "right"
    who = "a client's process" if plan.traffic else "the process"
    table.add_row(
        who,
        gigabytes(memory.client),
        "libraries, and copies of the network: weights, gradients, optimizer, messages"
        if config.trainable == "all"
        else "libraries, and copies of the frozen network",
    )
    if config.device == "cuda":
        activations = plan.times.activations
        said = f"a batch of {config.batch_size} images on the GPU, measured; not in the sum"
        table.add_row("  activations", gigabytes(activations), said)
    else:
        said = f"a batch of {config.batch_size} images, measured"
        if plan.times.measured < config.batch_size:
            said = f"a batch of {config.batch_size} images, from one of {plan.times.measured}"
        table.add_row("  activations", gigabytes(memory.activations), said)
    if plan.traffic:
        table.add_row("server, Flower, Ray", gigabytes(memory.server), "copies of the network")
        together = f"{memory.clients} clients at the same time"
        table.add_row("in all", gigabytes(memory.total), together, style="bold")
    else:
        table.add_row("in all", gigabytes(memory.total), "", style="bold")
    return table


def _disk_table(plan: RunPlan) -> Table:
    table = plan_table("Disk", "", "", "")
    table.columns[1].justify = "right"
    there = "kept already" if not plan.store_bytes else "built once, for all runs of this size"
    table.add_row("decoded images", gigabytes(plan.store_bytes), there)
    if plan.config.on_features:
        there = "kept already" if not plan.feature_bytes else "computed once"
        table.add_row("features", gigabytes(plan.feature_bytes), there)
    models = "three" if plan.config.ema_decay else "two"
    table.add_row("run folder", gigabytes(plan.estimate.bytes), f"{models} models, and predictions")
    table.add_row("  while it runs", gigabytes(plan.estimate.passing), "in addition")
    return table


def _time_table(plan: RunPlan) -> Table:
    each, config = plan.estimate, plan.config
    table = plan_table("Time", "", "", "")
    table.columns[1].justify = "right"
    if plan.decoding:
        table.add_row(
            "decoding the images",
            duration(plan.decoding),
            "once; measured by decoding some of them",
        )
    table.add_row("start and end", duration(each.starting), "processes and libraries")
    if config.on_features:
        table.add_row("features", duration(each.features), "" if each.features else "kept already")
    unit = "round" if plan.traffic else "epoch"
    steps = (
        f"{1000 * plan.times.training:.3g} ms to train on an image"
        f"{'’s features' if config.on_features else ''}, measured in batches of "
        f"{plan.times.measured if not config.on_features else config.batch_size}"
    )
    table.add_row("a round" if plan.traffic else "an epoch", fine_duration(each.a_round), steps)
    many = f"{each.rounds} {unit}s"
    patience = "at most; patience may end it earlier" if config.patience else ""
    table.add_row(many, duration(each.rounds * each.a_round), patience)
    models = "the last model, and the best one"
    if num_judged(config) > 2:
        models = "the last model, the best one, and the moving average"
    table.add_row("judging", duration(each.judging), models)
    table.add_row("in all", duration(plan.seconds), "", style="bold")
    return table


def _notes(plan: RunPlan, folder: RunFolder) -> Iterator[str]:
    config = plan.config
    if plan.traffic:
        at_once = plan.at_work.at_once
        yield (
            f"{counted(config.clients, 'client')}, {at_once} at the same time; "
            f"CPU threads of each: {config.threads_per_client}"
        )
    else:
        yield f"CPU threads: {config.threads_per_client}"
    validating = plan.division.table.xs("validation", level="split").sum()
    if few := too_few_images(config.coverage, {str(k): int(n) for k, n in validating.items()}):
        yield f"Of the validation images: {few}"
    if plan.command == "heads":
        yield "Fitting the heads is not in the time"
    cached = plan.store_bytes + plan.feature_bytes
    results = plan.estimate.bytes + plan.estimate.passing
    yield from room_lines({cache_dir(config): cached, folder.path: results})
    yield from machine_notes(plan.to_download)
    yield "Nothing was trained, and no folder was made"


def plan_table(title: str, *columns: str) -> Table:
    """Return an empty table of a plan; without names of columns it has no head."""
    table = Table(*columns, title=title, title_justify="left", box=None)
    table.show_header = any(columns)
    table.padding = (0, 2, 0, 0)
    return table


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value) or "''"
