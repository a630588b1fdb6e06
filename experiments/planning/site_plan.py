"""What the coordinator can know of a run over sites before it starts."""

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.table import Table

from data_partition.datasets import find_dataset
from data_partition.synthetic_folder import NOTICE, is_synthetic
from experiments.console import Console
from experiments.planning.estimate import Workers, estimate, round_training
from experiments.planning.images import ClientImages, ImageCounts, store_bytes
from experiments.planning.run_plan import lacking
from experiments.planning.run_plan_tables import (
    machine_notes,
    plan_table,
    show_config,
    traffic_table,
)
from experiments.planning.step_times import measure_steps, setting
from experiments.planning.traffic import traffic
from experiments.planning.words import fine_duration, gigabytes, room_lines
from fl_server.federated_config import for_server
from models.registry import find_backbone
from training.config import ExperimentConfig
from training.memory import PROCESS_BYTES
from training.release import cache_dir
from training.run_folder import RunFolder
from training.study import resolve
from training.warm_start import check_source

# Of a network, at the coordinator: the weights, the sum and a reply at the server, and the message
# at the SuperLink.
_COPIES = 4

# The images of a site on which its time is told.
_SOME = 1000


def show_site_plan(
    console: Console,
    wanted: ExperimentConfig,
    config: ExperimentConfig,
    sites: Sequence[str],
    folder: RunFolder,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Print the plan of a run over sites, whose images and machines only they know.

    Args:
        wanted, config: as the user wrote it, and resolved for sites.
        sites: the names of the sites that are admitted.
        folder: the run's; it does not exist.

    Raises:
        ConfigError, DataError, RunFolderError, WeightsError: as the run itself would.
        TrainingError: a step cannot be run here.
    """
    dataset, server = find_dataset(config.dataset), for_server(config)
    check_source(config)
    to_download = lacking(server)
    num_test = 0
    if config.test_dir and dataset.load_test is not None:
        table = dataset.load_test(Path(config.test_dir), Path(config.test_dir))
        num_test = 0 if table is None else len(table.rows)
    here = resolve(server, dataset=config.dataset, device=server.device, threads_per_client=1)
    times = measure_steps([here], cache_dir(config), progress)[setting(here)]
    images = ImageCounts((ClientImages(_SOME, 0, 0),), num_test, num_test)
    one = here.replace(clients=1, min_replies=1)
    each = estimate("simulate", one, times, images, Workers(), with_clients=False)
    if is_synthetic(config.test_dir):
        console.say(NOTICE, style="bold")
    show_config(console, wanted, config)
    console.print(_images_table(sites, num_test))
    model = find_backbone(config.backbone).megabytes * 10**6
    stored = store_bytes(config.image_size, images.stored)
    needed = {
        "memory of server and SuperLink": 2 * PROCESS_BYTES + _COPIES * model,
        "decoded test images": stored,
        "run folder": each.bytes + each.passing,
    }
    needs = plan_table("At the coordinator", "", "")
    for name, size in needed.items():
        needs.add_row(name, gigabytes(size))
    console.print(needs)
    classes = dataset.classes
    sent = traffic(config, 2 if classes is None else len(classes))
    console.print(traffic_table(sent, config.asked_clients, config))
    if classes is None:
        console.say("With two classes; how many there are is known when the sites connect")
    features = ""
    if config.on_features:
        features = f", after {fine_duration(_SOME * times.features)} once for their features"
    console.say(
        "How long a round takes is unknown before the sites connect: each trains on its own "
        "images and machine. One core here takes "
        f"{fine_duration(round_training(config, times, _SOME))} to train on {_SOME} images for a "
        f"round (of {config.rounds}){features}"
    )
    room = room_lines({cache_dir(config): stored, folder.path: each.bytes + each.passing})
    for line in (*room, *machine_notes(to_download), "Nothing was trained, and no folder was made"):
        console.say(line)


def _images_table(sites: Sequence[str], num_test: int) -> Table:
    table = plan_table("Images", "site", "images")
    for name in sites:
        table.add_row(name, "unknown before it connects")
    table.add_row("global test set", str(num_test) if num_test else "none: test-dir is not set")
    return table
