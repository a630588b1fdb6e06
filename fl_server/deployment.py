"""A run over real sites: the steps before the first round that differ from a simulation."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from logging import WARNING
from pathlib import Path
from typing import Any

from flwr.common import log
from flwr.serverapp import Grid

from data_partition.dataset import DataSet
from data_partition.datasets import find_dataset
from data_partition.own_images import check_label
from data_partition.synthetic_folder import is_synthetic
from fl_server.federated_config import for_server, for_sites
from fl_server.federation import Federation
from fl_server.nodes import FederationError, Gathered, Introduction
from fl_server.site_grid import SiteGrid
from fl_server.site_introductions import collect_introductions, site_names
from fl_server.streaming_grid import StreamingGrid
from operation.environment import PLACES_VARIABLE
from operation.files import parse_toml
from operation.text import quoted
from strategies.expected_replies import SPLITS
from training.clip_text import as_text, describe_text, text_of_run
from training.config import PATH_KEYS, ExperimentConfig
from training.config_keys import MESSAGE_SECONDS
from training.data_description import describe_test_data
from training.division import class_notices
from training.errors import ConfigError
from training.preparation import prefetch
from training.run_folder import RunFolder
from training.site_data import open_test_dir


def places() -> dict[str, Any]:
    """Return the path keys of the coordinator's machine; they are never sent to sites.

    They are in the TOML file that the environment variable names; a simulation has none.

    Raises:
        ConfigError: the file cannot be read, or holds other keys.
    """
    named = os.environ.get(PLACES_VARIABLE)
    if not named:
        return {}
    try:
        found = parse_toml(Path(named).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{named}: cannot be read: {error}") from None
    if surplus := found.keys() - set(PATH_KEYS):
        raise ConfigError(f"{named}: {min(surplus)} is none of {', '.join(PATH_KEYS)}")
    return found


def is_deployed(folder: RunFolder) -> bool:
    """Return whether the run in a folder is one over sites: a coordinator has named them there."""
    return "sites" in folder.manifest()


def run_deployed(grid: Grid, config: ExperimentConfig, folder: RunFolder) -> None:
    """Run what is missing in a run folder that this process has locked.

    At the first start every site must introduce itself, and all must agree. A resumed run starts
    without absent or changed sites if ``min-replies`` others are there.

    Args:
        grid: the `StreamingGrid` around Flower's.
        config: from `prepare_deployed`.
        folder: its manifest has ``sites``, node ids by name, and ``run``, 32 hex digits.

    Raises:
        FederationError: sites are missing, or do not agree, or too few are unchanged.
        DataError, WeightsError, TooFewReplies, TrainingError: as in a simulation.
    """
    assert isinstance(grid, StreamingGrid)
    manifest = folder.manifest()
    names = site_names(manifest, config.clients)
    known: dict[str, Any] = manifest.get("clients", {})
    # The sum is of all sites, and a start that ended before it was made has not begun the run.
    summed = config.class_counts != "federation" or "class_counts" in manifest
    begun = bool(known) and summed
    settings = {"experiment": for_sites(config).to_toml(), "run": str(manifest["run"])}
    here = for_server(config)
    dataset = find_dataset(config.dataset)
    prefetch(here, folder, dataset.classes)
    folder.update_manifest(device=here.device, phase="asking the sites who they are")
    sites = SiteGrid(grid, names, needed=config.min_replies, waiting=_telling(folder))
    needed = config.min_replies if begun else config.clients
    # At the first start each site decodes its images, and all are needed.
    timeout = config.longest_round if begun else MESSAGE_SECONDS
    found = collect_introductions(sites, names, settings, needed=needed, timeout=timeout)
    classes = agreed_classes(dataset, manifest, found)
    _refuse_others(sites, names, found, config, manifest, needed, classes)
    described = {name: site.describe() for name, site in found.items()}
    test_data = open_test_dir(here, classes.names)
    data = manifest.get("data") or _describe(found) | describe_test_data(test_data)
    counts = {n: site.class_counts for n, site in found.items() if site.class_counts is not None}
    said = class_notices(counts, classes.names) if len(counts) == config.clients else ()
    notices = [*data.get("notices", ()), *dataset.notices(config.slice_choice), *said]
    data["notices"] = list(dict.fromkeys(notices))  # a resumed run says them again
    clients = {name: described.get(name) or known[name] for name in names.values()}
    # One site's word does not mark the others' figures; its own entry keeps it.
    data["synthetic"] = is_synthetic(config.test_dir) or all(
        client["synthetic"] for client in clients.values()
    )
    folder.update_manifest(clients=clients, data=data)
    text = text_of_run(here, folder, classes.names)
    folder.update_manifest(text=describe_text(text))
    described = folder.manifest()["clients"]
    gathered = Gathered(
        names=names,
        sizes={name: {split: described[name][split] for split in SPLITS} for name in described},
        present=found,
    )
    federation = Federation(sites, here, folder, classes.names, test_data, as_text(text), settings)
    federation.run(lambda: gathered)


@dataclass(frozen=True)
class Classes:
    """The classes of a run."""

    names: tuple[str, ...]  # in the order of the network's outputs
    whose: str  # who has them, with the verb, for an error


def agreed_classes(
    dataset: DataSet, manifest: Mapping[str, Any], found: Mapping[str, Introduction]
) -> Classes:
    """Return the classes that every site must have.

    They are those of the data set or, where each site names its own, those with which the run
    began; at its first start those that most sites have, and if there are several such lists, the
    first site's.

    Args:
        found: the sites' introductions, in the order of the clients; at least one.

    Raises:
        DataError: a class's name is none that a data folder may have.
    """
    if dataset.classes is not None:
        # Not the first site's, which may be the one that is wrong.
        return Classes(dataset.classes, f"{dataset.name} has")
    if "data" in manifest:
        return Classes(tuple(manifest["data"]["classes"]), "this run began with")
    lists = Counter(site.classes for site in found.values())
    names, _ = lists.most_common(1)[0]
    who = [name for name, site in found.items() if site.classes == names]
    for label in names:  # they become the columns of tables
        check_label(label, who[0])
    return Classes(names, f"{', '.join(who)} {'has' if len(who) == 1 else 'have'}")


def _refuse_others(
    sites: SiteGrid,
    names: Mapping[int, str],
    found: dict[str, Introduction],
    config: ExperimentConfig,
    manifest: Mapping[str, Any],
    needed: int,
    classes: Classes,
) -> None:
    """Refuse the sites that differ from the others, or from their state when the run began.

    Raises:
        FederationError: names them, if fewer than needed are left. At the first start all are
            needed.
    """
    faults = {name: _fault(name, site, config, manifest, classes) for name, site in found.items()}
    refused = {name: reason for name, reason in faults.items() if reason}
    if len(found) - len(refused) < needed:
        raise FederationError("; ".join(refused.values()))
    for node, name in names.items():
        if name in refused:
            log(WARNING, "%s", refused[name])
            sites.refuse(node, refused[name])
            del found[name]


def _fault(
    name: str,
    site: Introduction,
    config: ExperimentConfig,
    manifest: Mapping[str, Any],
    classes: Classes,
) -> str | None:
    """Return why a site cannot take part, if it cannot."""
    if site.dataset != config.dataset:
        return f"{name} holds {quoted(site.dataset)}, but dataset = {config.dataset}"
    if site.classes != classes.names:
        theirs, wanted = (", ".join(map(quoted, c)) for c in (site.classes, classes.names))
        return (
            f"{name} has the classes {theirs}, but {classes.whose} {wanted}: "
            "it must correct its data folder"
        )
    before = manifest.get("clients", {}).get(name)
    if before and any(site.describe()[key] != before[key] for key in ("fingerprint", *SPLITS)):
        return (
            f"{name} holds other images than when this run began; it must restore those, or "
            "choose another run folder"
        )
    if manifest.get("base_sha256", site.base) != site.base:
        return f"{name}: its network's base is not the one that this run began with"
    return None


def _describe(found: Mapping[str, Introduction]) -> dict[str, Any]:
    """Return the manifest's entry about the images.

    Which images a site sets aside, and which are copies, is not sent.
    """
    together = "\n".join(site.fingerprint for site in found.values())
    return {
        "classes": next(iter(found.values())).classes,
        "fingerprint": hashlib.sha256(together.encode()).hexdigest(),
        "images": sum(sum(site.sizes.values()) for site in found.values()),
        "set_aside": {},
        "copies": None,
    }


def _telling(folder: RunFolder) -> Callable[[list[str]], None]:
    """Return a function that writes the awaited sites into the manifest, and afterwards the current
    step.
    """
    before = ""

    def tell(names: list[str]) -> None:
        nonlocal before
        phase = str(folder.manifest()["phase"])
        if not phase.startswith("waiting for "):
            before = phase
        folder.update_manifest(phase=f"waiting for {', '.join(names)}" if names else before)

    return tell
