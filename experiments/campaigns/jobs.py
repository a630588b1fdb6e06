"""From trials to jobs: what each needs of a machine, and which trial's network it uses."""

import uuid
from collections.abc import Mapping, Sequence
from functools import partial

from experiments.campaigns.attempt import AttemptTask
from experiments.campaigns.campaign_file import Campaign
from experiments.campaigns.campaign_folder import CampaignFolder, has_network
from experiments.campaigns.gpu_sharing import GpuSharing
from experiments.campaigns.job import Job
from experiments.campaigns.scheduler import Cluster
from experiments.campaigns.trial import Trial
from experiments.planning.run_memory import memory_needed
from training.device import resolve_device
from training.experiment_data import DataFacts
from training.study import resolve

Trials = Mapping[str, tuple[Trial, DataFacts]]


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
    here = resolve_device("auto")
    jobs = []
    for trial_id in pending:
        trial, facts = trials[trial_id]
        source = sources.get(trial_id, "")
        on_gpu = trial.config.device in ("auto", "cuda")
        config = resolve(
            trial.config,
            dataset=facts.dataset,
            device=here if trial.config.device == "auto" else trial.config.device,
            threads_per_client=1,
        )
        share = cluster.share(
            cpus=campaign.cpus_per_trial,
            gpus=campaign.gpus_per_trial if on_gpu else None,
            memory=partial(memory_needed, trial.command, config),
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


def sharing_of(
    campaign: Campaign, folder: CampaignFolder, trials: Trials, cluster: Cluster
) -> GpuSharing | None:
    """Return how trials share GPUs; None if the campaign says it, or there are none here."""
    if campaign.gpus_per_trial or not cluster.own_gpus:
        return None
    return GpuSharing(
        folder,
        {trial_id: trial for trial_id, (trial, _) in trials.items()},
        gpus=cluster.own_gpus,
        divides_cores=not campaign.cpus_per_trial,
    )


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
