"""One image encoder trained against the text features of a CLIP encoder: ``fedskin clip``.

Also ``python -m experiments.centralized_clip``.
"""

from pathlib import Path
from typing import Annotated

import typer

from experiments.command_runner import run_command_line
from experiments.console import Console
from experiments.options import (
    ConfigArgument,
    OverrideOption,
    PlanOption,
    ResumeOption,
    SeedsOption,
    TrackOption,
    refuse_with_plan,
    run_folder_option,
)
from training.errors import ConfigError

console = Console()


def clip_command(
    config: ConfigArgument = None,
    override: OverrideOption = None,
    out: Annotated[Path | None, run_folder_option("clip")] = None,
    resume: ResumeOption = False,
    seeds: SeedsOption = None,
    plan: PlanOption = False,
    track: TrackOption = None,
) -> None:
    """Train one image encoder against the frozen text features of a CLIP encoder.

    This is centralized training; fedskin simulate -c objective=clip does the same in a federation
    of hospitals. The text features are computed once and cached.

    Examples
    --------

    One of the runs of the study (docs/study.md), on the real HAM10000 or BraTS2019:

        fedskin clip -c data-dir=/data/HAM10000 \\
          -c backbone=maxvit_t -c text-encoder=RN50x16
        fedskin clip -c data-dir=/data/BraTS2019 -c backbone=swin_b

    CLIP's own image tower, starting from OpenAI's weights:

        fedskin clip -c data-dir=/data/HAM10000 \\
          -c backbone=clip-vit-b-32 -c text-encoder=ViT-B/32

    Resume after a crash or Ctrl-C, or for more epochs:

        fedskin clip --resume --out runs/first
        fedskin clip --resume --out runs/first -c epochs=80
    """
    # Imported here, since --help needs none of it.
    from experiments.centralized import train_centralized
    from experiments.results import show_results
    from experiments.run_setup import open_run

    defaults = {"objective": "clip"}
    if plan:
        refuse_with_plan(resume=resume, seeds=seeds)
    if seeds is not None:
        from experiments.seeds import run_seeds

        run_seeds(
            "clip", seeds, config, override, out, resume=resume, defaults=defaults, track=track
        )
        return
    wanted, folder = open_run(config, override, out, resume=resume, kind="clip", defaults=defaults)
    if wanted.objective != "clip":
        raise ConfigError(
            f"objective = {wanted.objective!r}: fedskin clip trains objective clip only"
        )
    if plan:
        from experiments.planning.run_plan_tables import show_run_plan

        show_run_plan(console, "clip", wanted, folder)
        return
    train_centralized(console, wanted, folder, kind="clip", track=track)
    show_results(console, folder)


if __name__ == "__main__":
    run_command_line(lambda: typer.run(clip_command))
