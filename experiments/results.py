"""The final figures of a run as tables."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from experiments.calibration_text import calibration_lines
from experiments.console import Console
from experiments.display import left_out_note, overlap_note, show_notices
from experiments.figures_table import (
    AVERAGE,
    BY_PATIENT,
    NONE,
    OF_SHARED,
    OVER,
    classes_table,
    megabytes,
    metric_cells,
    metric_columns,
    new_table,
    recall_table,
    scores_tables,
    update_warnings,
    updates_table,
    with_patients,
)
from experiments.run_faults import faults_told
from training.data_description import left_out_name, synthetic_note
from training.early_stopping import ended_early_note
from training.participation import absences_of, chosen_model, local_arrays_note, pooled_clients
from training.run_folder import RunFolder
from training.scores import scores_with

Row = tuple[str, Mapping[str, Any]]

# Names of highlighted rows.
_STYLES = {"global test set": "bold", "test set": "bold", "  last model": "dim"}


def show_results(console: Console, folder: RunFolder) -> None:
    """Print the final figures of a completed run, and where everything is.

    Raises:
        RunFolderError: a file is missing, damaged, or of another version.
    """
    metrics, manifest, rounds = folder.metrics(), folder.manifest(), folder.rounds()
    with faults_told(folder.path):
        blocks = [(name, block) for name, block in blocks_of(metrics) if block]
        classes, first = folder.data()["classes"], _first(metrics)
        tables = [results_table(metrics, manifest), recall_table(blocks, classes, first)]
        tables += scores_tables(blocks, first, metrics["best_by"])
        tested = "global_test" if "global_test" in metrics else "client_test"
        if tested in metrics:
            of = "global test set"
            if tested == "client_test":
                own = ", own models" if "shared" in metrics else ""
                of = f"clients' pooled test splits{own}"
            tables.append(classes_table(metrics[tested], classes, of))
        if "clients" in metrics:
            tables += [updates_table(rounds), traffic_table(rounds)]
        calibration = calibration_lines(metrics, classes)
    for table in tables:
        console.print(table)
        console.print()
    for line in [*behind(metrics), *(update_warnings(rounds) if "clients" in metrics else [])]:
        console.print(line, highlight=False)
    for said in calibration:
        console.say(said)
    if ended := ended_early_note(manifest):
        console.say(ended)
    show_notices(console, manifest["data"].get("notices", ()))
    if "global_test" not in metrics and not metrics.get("local_arrays"):  # of which the title tells
        console.print("There is no global test set, so there are no figures for it.")
    console.say(f"The run folder is {folder.path}")


def results_table(metrics: Mapping[str, Any], manifest: Mapping[str, Any]) -> Table:
    """Return the table of a run: a row for each client, if any, and each test set.

    Args:
        metrics: as in ``metrics.json``.
        manifest: the run's; the title warns of synthetic images and random text towers.
    """
    chosen = chosen_model(metrics)
    title = f"{chosen[0].upper()}{chosen[1:]}, in percent"
    if said := synthetic_note(manifest):
        title += f"\n{said}"
    for note in (overlap_note(manifest["data"]), left_out_note(manifest["data"])):
        if note:
            title += f"\n{note}"
    if note := local_arrays_note(metrics):
        title += f"\n{note}"
    text = manifest.get("text")
    if text and text["weights"].startswith("random"):
        title += f"\nRANDOM text tower ({text['weights']}) instead of CLIP's {text['encoder']}"
    table = new_table(title, _first(metrics), ["n", *metric_columns()])
    table.caption = OVER
    for name, block in with_patients(blocks_of(metrics)):
        cells = [str(block["n"]), *metric_cells(block)] if block else [NONE] * 8
        table.add_row(Text(name), *cells, style=_STYLES.get(name))
    for client, heads in metrics.get("client_heads", {}).items():
        if "failed" in heads:
            table.add_row(Text(f"  own heads of {client}: {heads['failed']}"))
    return table


def behind(metrics: Mapping[str, Any]) -> list[Text]:
    """Print which clients are in the figures of a federated run, a line for each missing one.

    Args:
        metrics: as in ``metrics.json``; for a centralized run nothing is printed.
    """
    if "clients" not in metrics:
        return []
    rounds, absences = metrics["rounds"], absences_of(metrics)
    validation, best_by = metrics["validation"], metrics["best_by"]
    higher = best_by != "loss" and scores_with(best_by)[best_by].higher_is_better
    best = f"{'highest' if higher else 'lowest'} {best_by.upper()}"
    chosen = (
        f"The best round is the one with the {best} on the clients' validation images, pooled, as "
        "the clients report it."
    )
    if "best_rounds" in metrics:
        chosen = (
            f"Each client's best round is the one with the {best} on its own validation images."
        )
    if not validation["n"]:
        chosen = "No client has validation images, so the last round counts as the best."
    elif validation[best_by] is None:
        chosen = f"{best_by.upper()} is defined in no round, so the last round counts as the best."
    if not absences:
        whole = f"Every client took part in all rounds ({rounds} of {rounds})."
        if "sampled" in metrics:
            whole = "Every client took part in all rounds that asked it."
        return [Text(f"{whole} {chosen}"), *_without_histograms(metrics)]
    lines = [Text("NOT COMPLETE: some clients are missing from these figures.", "bold yellow")]
    those = " that asked it" if "sampled" in metrics else ""
    for client, count in metrics["participation"].items():
        said = absences.get(client, f"in {count} of {count} rounds{those}")
        lines.append(Text(f"  {client}: {said}", "yellow" if client in absences else ""))
    return [*lines, Text(chosen), *_without_histograms(metrics)]


def _without_histograms(metrics: Mapping[str, Any]) -> list[Text]:
    clients = metrics["client_test"]["no_histograms"]
    scores = ", ".join(
        name.upper()
        for name, score in scores_with(metrics["best_by"]).items()
        if score.needs == "histograms"
    )
    said = "images are not in the clients' pooled"
    return [Text(f"{name} {why}: its {said} {scores}.") for name, why in clients.items()]


def traffic_table(rounds: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table of the bytes sent in a federated run.

    Args:
        rounds: at least one, as in ``rounds.jsonl``.
    """
    sent = sum(record["bytes_sent"] for record in rounds)
    received = sum(record["bytes_received"] for record in rounds)
    # Clients that failed were also sent the weights.
    asked = sum(len(record["clients"]) + len(record["failures"]) for record in rounds)
    answers = sum(len(record["clients"]) for record in rounds)
    transport, waiting, seconds = (
        sum(record["seconds"][name] for record in rounds)
        for name in ("transport", "waiting", "round")
    )
    table = new_table("Communication, in megabytes", "", ["to clients", "from clients"])
    table.add_row("a client, a round", megabytes(sent / asked), megabytes(received / answers))
    table.add_row("all", megabytes(sent), megabytes(received))
    table.caption = f"Transport: {transport:.1f} s of the rounds' {seconds:.1f} s"
    if waiting >= 0.05:
        table.caption += f"\nClients waiting for their turn: {waiting:.1f} s"
    return table


def _first(metrics: Mapping[str, Any]) -> str:
    return "test split of" if "clients" in metrics else "evaluated on"


def _other_models(metrics: Mapping[str, Any], test_set: str) -> Iterator[Row]:
    yield "  last model", metrics["last"][test_set]
    if "ema" in metrics:
        yield AVERAGE, metrics["ema"][test_set]


def named_in_full(rows: Iterable[Row]) -> list[Row]:
    """Return rows whose names are unique: an indented one begins with the row that it is below."""
    found, above = [], ""
    for name, block in rows:
        if name.startswith(" "):
            name = f"{above}, {name.strip()}"
        else:
            above = name
        found.append((name, block))
    return found


def _of_clients(
    blocks: Mapping[str, Any], everyone: Sequence[str], ema: Mapping[str, Any], of: str = ""
) -> Iterator[Row]:
    """Yield the rows of the clients' test splits.

    Args:
        ema: of the moving average, as ``blocks``; may be empty.
        of: the end of the rows' names.
    """
    clients, pooled = blocks["clients"], blocks["client_test"]
    for name in everyone:
        yield f"{name}{of}", clients.get(name, {})
    images = {key: value for key, value in pooled.items() if key != "patients"}
    yield f"{pooled_clients(pooled['missing'], len(everyone))}, pooled{of}", images
    if patients := pooled.get("patients"):
        fewer = patients["missing"] != pooled["missing"]
        who = f", {pooled_clients(patients['missing'], len(everyone))}" if fewer else ""
        yield f"{BY_PATIENT}{who}", patients
    if ema:
        yield AVERAGE, {k: v for k, v in ema["client_test"].items() if k != "patients"}


def blocks_of(metrics: Mapping[str, Any]) -> Iterator[Row]:
    """Yield the rows' names and metric blocks; empty blocks for clients that did not answer.

    Where clients have models of their own beside a shared one, rows of the clients come twice.
    """
    federated = "clients" in metrics
    if federated:
        everyone, ema = list(metrics["participation"]), metrics.get("ema", {})
        yield from _of_clients(metrics, everyone, ema)
        if "shared" in metrics:
            yield from _of_clients(metrics["shared"], everyone, ema.get("shared", {}), OF_SHARED)
    if "global_test" in metrics:
        yield ("global test set" if federated else "test set"), metrics["global_test"]
        yield from _other_models(metrics, "global_test")
    if "left_out" in metrics:
        yield left_out_name(metrics["left_out"]), metrics["left_out"]
        yield from _other_models(metrics, "left_out")
    for client, heads in metrics.get("client_heads", {}).items():
        for head, block in heads.items():
            if head != "failed":
                yield f"  own {head.upper()} of {client}", block
