"""``fedskin data``: check a data set, partition it, generate a synthetic one; the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from experiments.cache_command import cache
from experiments.console import Console, echo
from experiments.display import counting
from experiments.options import DatasetName, DatasetOption
from operation.text import counted

app = typer.Typer(
    help="Check a data set, partition it among clients, or generate a synthetic one; clean the "
    "cache.",
    no_args_is_help=True,
)
app.command()(cache)

PLAN_COLUMNS = ("image_id", "label", "lesion_id", "client", "split")

# Each command's text explains DIR: Typer 0.20 drops an argument's help under Click 8.5.
Directory = Annotated[Path, typer.Argument(metavar="DIR")]


@app.command()
def check(
    data_dir: Directory,
    test_dir: Annotated[
        Path | None, typer.Option(help="Folder of the test set.", show_default="looks inside DIR")
    ] = None,
    near: Annotated[
        bool,
        typer.Option(
            "--near", help="Also list images that look alike: encoded again, rotated or cropped."
        ),
    ] = False,
    dataset: DatasetOption = "",
    split_file: Annotated[
        Path | None, typer.Option(help="Also check this published split of the training set.")
    ] = None,
) -> None:
    """Check the data folder DIR: show what it holds; every image is decoded.

    It also reports problems: test images that are in training, identical images under several ids,
    lesions with several diagnoses.

    It reads HAM10000 and the ISIC2018 test set as Dataverse, Kaggle and the ISIC challenge publish
    them (zip archives need no unpacking), and train/CLASS/ and test/CLASS/ folders; ISIC 2019 with
    its test set; PAD-UFES-20 as the test set of either; BraTS2019
    as NIfTI volumes, of which eight slices per patient are used, and as slices in
    {train,valid,test}/{HGG,LGG}/ folders; and images of your own, of any classes, with a table of
    labels or in class-named folders.

    Examples:

    fedskin data check ~/HAM10000

    fedskin data check ~/HAM10000 --test-dir ~/ISIC2018_test

    fedskin data check ~/HAM10000 --near

    fedskin data check ~/clinic --dataset folders

    fedskin data check ~/ISIC2019 --split-file train_test_split.csv
    """
    # Imported here and below, since --help needs none of it.
    from data_partition.check import check_folder
    from data_partition.datasets import find_dataset
    from data_partition.synthetic_folder import NOTICE, is_synthetic
    from experiments.data_text import near_lines, report_lines

    if is_synthetic(data_dir, test_dir or ""):
        echo(NOTICE)
    search = None
    if near:
        # Imported here, since SciPy takes long.
        from data_partition.near_duplicates import NearDuplicates

        search = NearDuplicates()
    with _decoding() as progress:
        look = search.add if search else None
        chosen = find_dataset(dataset) if dataset else None
        report = check_folder(data_dir, test_dir, progress, look, chosen, split_file)
    _print(report_lines(report))
    if search:
        _print(near_lines(report.images, search.pairs()))


@app.command()
def partition(
    data_dir: Directory,
    out: Annotated[
        Path, typer.Option(help="CSV file to write; a plot is written beside it, with suffix .png.")
    ],
    partition: Annotated[
        Literal["iid", "dirichlet", "source"],
        typer.Option(
            help="iid: equal parts at random. dirichlet: classes in uneven proportions. "
            "source: one client per source of the images."
        ),
    ] = "iid",
    clients: Annotated[int, typer.Option(min=1, help="How many clients.")] = 3,
    dirichlet_alpha: Annotated[
        float, typer.Option(help="With dirichlet: > 0; smaller is more uneven.")
    ] = 0.5,
    split_by: Annotated[
        Literal["image", "lesion"],
        typer.Option(help="lesion: all images of a lesion stay at one client, in one split."),
    ] = "image",
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives another partition.")] = 0,
    dataset: DatasetOption = "",
) -> None:
    """Partition the training set in DIR among clients, each part split 60/20/20.

    Slices are partitioned by patient; the global test patients belong to no client.

    The CSV file's columns are image_id, label, lesion_id, client and split.

    Examples:

    fedskin data partition ~/HAM10000 --out plan.csv

    fedskin data partition ~/HAM10000 --out p.csv --split-by lesion --seed 1

    fedskin data partition ~/HAM10000 --out p.csv --partition dirichlet

    fedskin data partition ~/HAM10000 --out p.csv --partition source --clients 4
    """
    if out.suffix.lower() != ".csv":
        raise typer.BadParameter(f"{out} must end in .csv", param_hint="--out")
    from data_partition.check import decode_all
    from data_partition.copies import find_copies, num_straddling
    from data_partition.dataset import Reading
    from data_partition.datasets import find_dataset
    from data_partition.partition import (
        counts,
        plan_partition,
        source_of,
        split_counts,
        straddling_lesions,
    )
    from data_partition.plot import plot_counts
    from data_partition.recognition import recognise
    from data_partition.synthetic_folder import NOTICE, is_synthetic
    from experiments.data_text import set_aside_lines, words
    from operation.files import check_writable, replacing

    check_writable(out)
    reading = Reading(by_source=partition == "source")
    found = find_dataset(dataset) if dataset else recognise(data_dir)
    table = found.load_training(data_dir, reading)
    planned = partial(
        plan_partition,
        partition=partition,
        clients=clients,
        dirichlet_alpha=dirichlet_alpha,
        split_by=split_by,
        seed=seed,
        grouped_by=table.grouped_by,
        sliced=table.sliced,
        sources=found.sources,
    )
    planned(table.rows)  # what is impossible is told before minutes of decoding
    with _decoding() as progress:
        # A run cannot use images that cannot be decoded, so no client gets them.
        training = decode_all(table, progress)
    plan = planned(training.rows)
    with replacing(out) as temporary:
        plan.to_csv(temporary, columns=list(PLAN_COLUMNS), index=False)
    notice = NOTICE if is_synthetic(data_dir) else ""
    names = {}
    if partition == "source":
        names = {name: f"{name} ({source_of(plan, name)})" for name in plan["client"].unique()}
    per_split = split_counts(plan).rename(index=names, level="client")
    plot_counts(per_split, out.with_suffix(".png"), title=notice)
    if notice:
        echo(notice)

    per_client = counts(plan).rename(index=names)
    images, lesions, _ = words(training)
    shown = Table("client", title=f"{images.capitalize()} per client and class")
    for name in (*per_client.columns, "all"):
        shown.add_column(str(name), justify="right", overflow="fold")
    for client, numbers in per_client.iterrows():
        shown.add_row(str(client), *map(str, numbers), str(numbers.sum()))
    Console().print(shown)
    straddling = straddling_lesions(plan)
    known = plan["lesion_id"].nunique()
    if known:
        echo(f"{straddling} of {known} {lesions} are in both training and test")
    else:
        echo(f"Which {lesions} are in both training and test is unknown: they have no ids")
    if num_kept := len(training.rows) - len(plan):
        echo(
            counted(
                num_kept,
                "slice of global test patients is",
                "slices of global test patients are",
            )
            + " given to no client"
        )
    held = training.rows[training.rows["image_id"].isin(plan["image_id"])]
    if copies := find_copies(held):
        places = (plan["client"] + " " + plan["split"]).tolist()
        echo(
            f"{num_straddling(held, places)} of {len(copies)} groups of images with identical "
            "pixels are in more than one client or split"
        )
    for notice in training.notices:
        echo(f"NOTE: {notice}")
    _print(set_aside_lines(training.set_aside))
    echo(f"Wrote {out} and {out.with_suffix('.png')}")


@app.command()
def synth(
    directory: Directory,
    dataset: Annotated[
        str,
        typer.Option(
            click_type=DatasetName(), help="Which data set's layout.", show_default="skin lesions"
        ),
    ] = "",
    images: Annotated[
        int | None, typer.Option(min=1, help="How many training images.", show_default="600")
    ] = None,
    patients: Annotated[
        int | None, typer.Option(min=1, help="Of volumes: how many patients.", show_default="40")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other images.")] = 0,
) -> None:
    """Write a synthetic data set to DIR.

    Laid out like HAM10000, with a test set of every class; like ISIC 2019, from six centres; or
    like BraTS2019, NIfTI volumes of both grades from several sites.

    Examples:

    fedskin data synth /tmp/ham

    fedskin data synth /tmp/ham --images 60 --seed 1

    fedskin data synth /tmp/isic --dataset isic2019

    fedskin data synth /tmp/brats --dataset brats2019 --patients 60
    """
    from data_partition.datasets import find_dataset, own_datasets

    made = [each for each in own_datasets() if each.synthetic is not None]
    chosen = find_dataset(dataset) if dataset else made[0]
    synthetic = chosen.synthetic
    if synthetic is None:
        names = ", ".join(each.name for each in made)
        raise typer.BadParameter(
            f"{chosen.name} has no synthetic images; {names} have", param_hint="--dataset"
        )
    counts = {"images": images, "patients": patients}
    count = counts.pop(synthetic.unit)
    for unit, given in counts.items():
        if given is not None:
            raise typer.BadParameter(
                f"{chosen.name} is counted in --{synthetic.unit}", param_hint=f"--{unit}"
            )
    count = synthetic.default if count is None else count
    synthetic.write(directory, count, seed)
    echo(f"Wrote {synthetic.wrote.format(count=count)} to {directory}")


def _decoding() -> AbstractContextManager[Callable[[int, int], None]]:
    return counting(Console(stderr=True), "Decoding images")


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        echo(line)
