"""``--plan`` of the commands that start a run on this machine."""

from experiments.console import Console
from experiments.display import counting
from experiments.planning.run_plan import plan_run
from experiments.planning.run_plan_tables import show_run_plan
from training.config import ExperimentConfig
from training.errors import ConfigError
from training.run_folder import RunFolder


def refuse_with_plan(**given: object) -> None:
    """Refuse options that ``--plan`` does not go with.

    Args:
        given: the options' values by name; those that are not set are None or False.

    Raises:
        ConfigError: one is set.
    """
    for name, value in given.items():
        if value:
            option = "--" + name.replace("_", "-")
            raise ConfigError(f"--plan: is for one new run on this machine; leave out {option}")


def show_plan_of(
    console: Console, command: str, wanted: ExperimentConfig, folder: RunFolder
) -> None:
    """Plan a run and print it.

    Raises:
        ConfigError, DataError, RunFolderError, TrainingError, WeightsError: see `plan_run`.
    """
    with counting(console, "Measuring training steps") as progress:
        plan = plan_run(command, wanted, progress)
    show_run_plan(console, plan, folder)
