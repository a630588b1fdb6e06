"""From trials to jobs: what each needs of a machine, and whose network it takes."""

from collections.abc import Mapping, Sequence

from experiments.campaigns.attempt import Order
from experiments.campaigns.campaign_file import Campaign
from experiments.campaigns.folder import CampaignFolder
from experiments.campaigns.scheduler import Cluster, Job
from experiments.campaigns.trial import Trial
from models.registry import find
from training.errors import RunFolderError
from training.experiment_data import DataFacts
from training.run_folder import RunFolder

Trials = Mapping[str, tuple[Trial, DataFacts]]

# Bytes of a process with torch, and of Flower's and Ray's.
_PROCESS = 10**9
_FLOWER = 2 * 10**9

# Copies of a model that one process of training holds: message, weights, gradients, optimizer's
# state (two), reply or checkpoint.
_COPIES = 6


def make_jobs(
    campaign: Campaign,
    folder: CampaignFolder,
    trials: Trials,
    pending: Sequence[str],
    cluster: Cluster,
) -> list[Job]:
    """Return a job for each pending trial, in their order, but lenders of networks first.

    Raises:
        ConfigError: no machine has the cores or GPUs that the campaign wants for a trial.
    """
    lenders = _lenders(folder, trials, pending)
    jobs = []
    for trial_id in pending:
        trial, _ = trials[trial_id]
        lender = lenders.get(trial_id, "")
        share = cluster.share(
            cpus=campaign.cpus_per_trial,
            gpus=campaign.gpus_per_trial,
            memory=memory_needed(trial),
        )
        order = Order(
            campaign=folder.path,
            trial_id=trial_id,
            command=trial.command,
            network_of=lender,
            cpus=share.cpus,
            hang_seconds=60 * campaign.hang_minutes,
        )
        jobs.append(Job(order, share, after=lender if lender in pending else ""))
    return sorted(jobs, key=lambda job: bool(job.after))


def memory_needed(trial: Trial) -> int:
    """Return how many bytes a trial is expected to need at most, but for its activations."""
    model = find(trial.config.backbone).megabytes * 10**6
    if trial.command != "simulate":
        return _PROCESS + _COPIES * model
    # The clients, as many at a time as there are at most; the server holds their replies, too.
    clients = trial.config.clients
    return _FLOWER + clients * (_PROCESS + _COPIES * model) + (clients + 2) * model


def _lenders(folder: CampaignFolder, trials: Trials, pending: Sequence[str]) -> dict[str, str]:
    """Return for trials of ``heads`` the trial whose network they take; the others train one."""
    alike: dict[str, list[str]] = {}
    for trial_id, (trial, facts) in trials.items():
        if trial.command == "heads":
            alike.setdefault(trial.network_key(facts), []).append(trial_id)
    lenders = {}
    for group in alike.values():
        begun = [i for i in group if folder.run_folder(i).exists()]
        trained = [i for i in begun if _has_network(folder.run_folder(i))]
        missing = [i for i in group if i in pending]
        own = trained or [i for i in begun if i in missing] or missing
        for trial_id in missing:
            if trial_id != own[0] and trial_id not in begun:
                lenders[trial_id] = own[0]
    return lenders


def _has_network(folder: RunFolder) -> bool:
    try:
        trained = folder.manifest().get("status") == "completed"
    except RunFolderError:
        return False
    return trained and folder.checkpoint.progress().round > 0
