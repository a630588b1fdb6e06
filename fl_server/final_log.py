"""The end of a run's log: its metrics, and the processes that Flower leaves running."""

from collections.abc import Iterator, Mapping
from typing import Any

import psutil

from operation.text import printable
from training.data_description import left_out_name, synthetic_note
from training.early_stopping import ended_early_note
from training.metrics import METRIC_NAMES
from training.participation import chosen_model, local_arrays_note, pooled_clients
from training.run_folder import RunFolder

_NAME_WIDTH = 40


def final_log_lines(folder: RunFolder) -> Iterator[str]:
    """Yield the metrics of a completed run's best model as lines of a table, in percent."""
    metrics, manifest = folder.metrics(), folder.manifest()
    yield f"{chosen_model(metrics)}, in percent"
    if said := synthetic_note(manifest):
        yield printable(said)
    if said := ended_early_note(manifest):
        yield said
    if said := local_arrays_note(metrics):
        yield said
    rows = [(name, block) for name, block in metrics["clients"].items() if block]
    for of, blocks in (("", metrics), (", shared model", metrics.get("shared", {}))):
        if pooled := blocks.get("client_test"):
            whole = pooled_clients(pooled["missing"], len(metrics["participation"]))
            rows.append((f"{whole}, pooled{of}", pooled))
    if "global_test" in metrics:
        rows.append(("global test set", metrics["global_test"]))
        rows += _other_models(metrics, "global_test")
    if "left_out" in metrics:
        rows.append((left_out_name(metrics["left_out"]), metrics["left_out"]))
        rows += _other_models(metrics, "left_out")
    width = min(_NAME_WIDTH, max(len(name) for name, _ in rows))
    heads = " ".join(f"{name.upper():>6}" for name in METRIC_NAMES)
    yield f"{'test split of':<{width}} {'n':>6} {heads}"
    for name, block in rows:
        yield f"{printable(name, width):<{width}} {block['n']:>6} {_cells(block)}"


def _other_models(metrics: Mapping[str, Any], test_set: str) -> list[tuple[str, dict[str, Any]]]:
    models = {"  last model": "last", "  moving average": "ema"}
    return [(name, metrics[key][test_set]) for name, key in models.items() if key in metrics]


def superlink_left_running() -> int | None:
    """Return the process id of the SuperLink that ``flwr run`` started and leaves running.

    None if this process belongs to another SuperLink, which its starter ends.
    """
    for process in psutil.Process().parents():
        try:
            command = process.cmdline()
        except psutil.Error:  # it has ended, or belongs to another user
            continue
        named = any("flower-superlink" in word for word in command)
        if named and any("local-superlink" in word for word in command):
            return process.pid
    return None


def _cells(block: Mapping[str, Any]) -> str:
    values = (block[name] for name in METRIC_NAMES)
    return " ".join("     –" if value is None else f"{value:6.2f}" for value in values)
