"""An attempt at a trial on a machine of a cluster, with its own images and maybe its own disk."""

import platform
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from experiments.campaigns.attempt import AttemptTask, attempt
from experiments.campaigns.campaign_folder import CampaignFolder
from operation.errors import InputError
from operation.files import creating_folder, write_bytes
from operation.processes import own_processes
from training.config_file import read_config
from training.experiment_data import DataFacts, data_facts
from training.run_folder import now
from training.run_state import RunState

if TYPE_CHECKING:
    from ray.util.queue import Queue

# The bytes of a trial's files by their paths in the campaign's folder. As arrays, since Ray copies
# these only once, into its shared memory.
Files = Mapping[str, NDArray[np.uint8]]


def attempt_elsewhere(task: AttemptTask, facts: DataFacts, _source_ended: str | None = None) -> str:
    """Do what `attempt` does, if this machine has the images that the campaign was planned with.

    Args:
        task: what to run.
        facts: about the images where the campaign was started.
        _source_ended: as for `attempt`.

    Returns:
        As `attempt`.
    """
    host = platform.node()
    config = read_config(CampaignFolder(task.campaign).config_path(task.trial_id))
    try:
        here = data_facts(config)
    except InputError as error:
        return f"{host}: {' '.join(str(error).split())}"
    if here != facts:
        return f"{host}: {config.data_dir} holds other images than where the campaign was started"
    return attempt(task)


def attempt_apart(
    task: AttemptTask, facts: DataFacts, begun: "Queue", *given: tuple[str, Files]
) -> tuple[str, Files]:
    """Do what `attempt_elsewhere` does on a machine that does not see the campaign's folder.

    Args:
        task: what to run.
        facts: as for `attempt_elsewhere`.
        begun: takes the trial's id and the record of this attempt as soon as it begins.
        given: files of this trial, and of the one whose network it uses, as this returns them.

    Returns:
        What `attempt` returns, and the trial's files.
    """
    record = {"run": task.run, "host": platform.node(), "started": now()}
    begun.put((task.trial_id, {**record, "outcome": RunState.RUNNING, "cause": ""}))
    with own_processes(uuid.uuid4().hex) as home:
        campaign = CampaignFolder(home / "campaign")
        for _, files in given:
            put_files(campaign, files)
        cause = attempt_elsewhere(replace(task, campaign=campaign.path), facts)
        return cause, files_of(campaign, task.trial_id)


def files_of(campaign: CampaignFolder, trial_id: str) -> Files:
    """Return all files of a trial."""
    return {
        str(path.relative_to(campaign.path)): np.fromfile(path, np.uint8)
        for place in campaign.places(trial_id)
        for path in _files_in(place)
    }


def put_files(campaign: CampaignFolder, files: Files) -> None:
    """Write the files of a trial; its run folder replaces the one that is there.

    A trial that is killed in between has no run folder, and begins anew.
    """
    runs: dict[Path, dict[Path, NDArray[np.uint8]]] = {}
    for name, content in files.items():
        folder, trial_id, *inside = Path(name).parts
        if inside:
            run = campaign.path / folder / trial_id
            runs.setdefault(run, {})[Path(*inside)] = content
        else:
            write_bytes(campaign.path / name, content.tobytes())
    for run, contents in runs.items():
        with creating_folder(run) as building:
            for inside_path, content in contents.items():
                path = building / inside_path
                path.parent.mkdir(parents=True, exist_ok=True)
                content.tofile(path)
            shutil.rmtree(run, ignore_errors=True)  # only now: what is here may be all there is


def _files_in(place: Path) -> Iterator[Path]:
    return (path for path in (place, *place.rglob("*")) if path.is_file())
