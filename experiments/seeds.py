"""One experiment with several seeds, ``--seeds`` of three commands: a campaign of one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.campaign_run import carry_out
from experiments.campaigns.campaign_file import Campaign, check_command
from experiments.campaigns.trial import Trial
from experiments.console import Console
from experiments.run_setup import load_config, new_folder
from models.registry import file_name
from training.config import Scalar
from training.errors import ConfigError


def run_seeds(
    command: str,
    seeds: str,
    path: Path | None,
    overrides: Sequence[str] | None,
    out: Path | None,
    *,
    resume: bool,
    ray_address: str | None = None,
    defaults: Mapping[str, Scalar] | None = None,
    track: str | None = None,
) -> None:
    """Run an experiment once with each seed, in a campaign's folder.

    Args:
        command: ``simulate``, ``clip`` or ``heads``.
        seeds: as after ``--seeds``.
        path, overrides, out, resume: from the command line. The same command continues what is not
            finished, so there is nothing to resume.
        ray_address: of the Ray cluster over which the runs are distributed.
        defaults: the command's, for keys that are not set.
        track: as of a campaign: where the finished runs are also sent.

    Raises:
        ConfigError, DataError, RunFolderError, WeightsError: it cannot start.
        typer.Exit: 1 if a run failed, 130 on Ctrl-C.
    """
    if resume:
        raise ConfigError(
            "--resume: goes without --seeds; run the same command again: finished runs stay, the "
            "others continue"
        )
    given = list(overrides or ())
    if any(override.partition("=")[0].strip() == "seed" for override in given):
        raise ConfigError("-c seed: --seeds sets it")
    numbers = parse_seeds(seeds)
    config = load_config(path, given, defaults)
    named = f"{command}-{file_name(config.backbone)}"
    out = out or new_folder(config, f"{named}-seeds")
    trials = [
        Trial(command, config.replace(seed=seed, run_dir=""), {"seed": seed}) for seed in numbers
    ]
    check_command(trials[0])
    campaign = Campaign(named, tuple(trials), hang_minutes=120, cpus_per_trial=0, gpus_per_trial=0)
    carry_out(campaign, out, ray_address=ray_address, track=track)
    Console().say(f"The runs are in {out}; their mean and spread: fedskin report {out}")


def parse_seeds(seeds: str) -> list[int]:
    """Read seeds that are separated by commas.

    Raises:
        ConfigError: they are no whole numbers, or one is there twice.
    """
    words = [word.strip() for word in seeds.split(",")]
    numbers = [int(word) for word in words if word.isascii() and word.isdigit()]
    if len(numbers) != len(words) or len(set(numbers)) != len(numbers):
        raise ConfigError(
            f"--seeds {seeds}: write whole numbers, each once, separated by commas, such as 0,1,2"
        )
    return numbers
