"""``fedskin text-features``: copy the text features of objective clip to offline machines.

A text encoder's weights are 0.4 to 2.5 GB with those of its image tower; a run needs only one row
of numbers for each class.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.config_command import ConfigCommand
from experiments.console import echo
from experiments.options import ConfigArgument, OverrideOption
from training.errors import ConfigError

if TYPE_CHECKING:
    from models.text_features import TextFeatures
    from training.config import ExperimentConfig

app = typer.Typer(
    help="Copy the text features of objective clip to machines without a network.",
    no_args_is_help=True,
)

# Each command's text explains FILE: Typer 0.20 drops an argument's help under Click 8.5.
FileArgument = Annotated[Path, typer.Argument(metavar="FILE")]


@app.command("export", cls=ConfigCommand)
def export_command(
    file: FileArgument, config: ConfigArgument = None, override: OverrideOption = None
) -> None:
    """Write the text features of a config's classes to FILE, a few kilobytes.

    It uses these config keys: text-encoder, dataset (or data-dir, to detect it), pretrained,
    weights-dir, seed and cache-dir. Features already in the cache are not computed again.

    Examples:

    fedskin text-features export skin.safetensors -c dataset=ham10000

        fedskin text-features export brain.safetensors \\
          -c dataset=brats2019 -c text-encoder=RN50x64
    """
    # Imported here and below, since --help needs none of it.
    from experiments.run_setup import load_config
    from training.clip_text import prepare_text

    wanted = load_config(config, override)
    features = prepare_text(wanted.replace(objective="clip"), _classes(wanted))
    assert features is not None
    features.save(file)
    _describe(features)
    echo(f"Wrote {file}")


@app.command("import", cls=ConfigCommand)
def import_command(file: FileArgument, override: OverrideOption = None) -> None:
    """Check the text features in FILE and put them into the cache, where runs find them.

    Examples:

    fedskin text-features import skin.safetensors

    fedskin text-features import skin.safetensors -c cache-dir=/data/cache
    """
    from experiments.run_setup import load_config
    from models.text_features import TextFeatures, store
    from training.release import cache_dir

    folder = cache_dir(load_config(None, override))
    features = TextFeatures.load(file)
    path = store(features, folder)
    _describe(features)
    echo(f"Wrote {path}")


def _classes(config: ExperimentConfig) -> tuple[str, ...]:
    from data_partition.datasets import dataset_choice
    from training.release import dataset_of, training_table

    if config.dataset == "auto" and not config.data_dir:
        raise ConfigError(
            f"dataset = 'auto': without a data-dir, set dataset to {dataset_choice()}"
        )
    return dataset_of(config).classes or training_table(config).classes


def _describe(features: TextFeatures) -> None:
    echo(f"{features.encoder}, weights: {features.weights}")
    for prompt in features.prompts:
        echo(f"  {prompt}")
