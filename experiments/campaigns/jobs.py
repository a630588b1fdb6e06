"""From trials to jobs: what each needs of a machine, and which trial's network it uses."""

import uuid
from collections.abc import Mapping, Sequence
from functools import partial

from experiments.campaigns.attempt import AttemptTask
from experiments.campaigns.campaign_file import Campaign
from experiments.campaigns.campaign_folder import CampaignFolder, has_network
from experiments.campaigns.scheduler import Cluster, Job
from experiments.campaigns.trial import Trial
from fl_server.federated_config import concurrency, messages_under_way
from models.registry import find_backbone
from strategies.method import FLOWER_COPIES
from strategies.methods import METHODS
from training.experiment_data import DataFacts
from training.memory import training_bytes

Trials = Mapping[str, tuple[Trial, DataFacts]]

# Of Flower's and Ray's processes.
_FLOWER_BYTES = 2 * 10**9


def make_jobs(
    campaign: Campaign,
    folder: CampaignFolder,
    trials: Trials,
    pending: Sequence[str],
    cluster: Cluster,
) -> list[Job]:
    """Return a job for each pending trial, in order, trials that others take a network from first.

    Raises:
        ConfigError: no machine has the cores or GPUs that the campaign asks for per trial.
    """
    run = uuid.uuid4().hex
    sources = _network_sources(folder, trials, pending)
    jobs = []
    for trial_id in pending:
        trial, facts = trials[trial_id]
        source = sources.get(trial_id, "")
        on_gpu = trial.config.device in ("auto", "cuda")
        share = cluster.share(
            cpus=campaign.cpus_per_trial,
            gpus=campaign.gpus_per_trial if on_gpu else None,
            memory=partial(memory_needed, trial),
        )
        task = AttemptTask(
            campaign=folder.path,
            trial_id=trial_id,
            command=trial.command,
            network_of=source,
            cpus=share.cpus,
            run=run,
            hang_seconds=60 * campaign.hang_minutes,
        )
        jobs.append(Job(task, share, after=source if source in pending else "", facts=facts))
    return sorted(jobs, key=lambda job: bool(job.after))


def memory_needed(trial: Trial, cpus: int) -> int:
    """Return the most bytes that a trial on ``cpus`` cores needs, without its activations."""
    config = trial.config
    if trial.command != "simulate":
        return training_bytes(config)
    # The server holds the weights, the sum and replies before their turn, of which a strategy of
    # Flower's needs all, or builds the base to evaluate the trained part.
    held = min(config.asked_clients, messages_under_way(cpus))
    if METHODS[config.strategy].flower:
        held = config.asked_clients * (1 + FLOWER_COPIES)
    models = held + 2 if config.trainable == "all" else 1
    server = _FLOWER_BYTES + models * find_backbone(config.backbone).megabytes * 10**6
    return server + concurrency(config.asked_clients, cpus) * training_bytes(config)


def _network_sources(
    folder: CampaignFolder, trials: Trials, pending: Sequence[str]
) -> dict[str, str]:
    """Map trials of ``heads`` to the trial whose network they use; the others train their own."""
    alike: dict[str, list[str]] = {}
    for trial_id, (trial, facts) in trials.items():
        if trial.command == "heads":
            alike.setdefault(trial.network_key(facts), []).append(trial_id)
    sources: dict[str, str] = {}
    for group in alike.values():
        missing = [i for i in group if i in pending]
        trained = [i for i in group if has_network(folder.run_folder(i))]
        begun = [i for i in missing if folder.run_folder(i).exists()]
        own = trained or begun or missing
        sources |= {i: own[0] for i in missing if i not in (own[0], *begun)}
    return sources
