"""The model card of a run: what the model is, learned from, can do, and must not be used for.

Its form follows Mitchell et al., Model Cards for Model Reporting, 2019. Everything in it is from
the run folder and from what fedskin knows of data sets and backbones; what is not known is said.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from data_partition.datasets import find_dataset
from experiments.display import copies_note, left_out_note, overlap_note
from experiments.exporting.exported_model import (
    NOTICE,
    ExportedModel,
    ExportError,
    preprocessing_in_words,
    weights_licence,
)
from experiments.reporting.run_results import RunResults, read_run_results
from experiments.reporting.run_tables import run_tables
from experiments.results import behind
from experiments.run_faults import faults_told
from operation.files import write_text
from operation.text import printable
from strategies.methods import METHODS
from training.config import PATH_KEYS
from training.weights import weights_sha256

_SPLITS = ("train", "validation", "test")
_LIMITS = (
    "It knows the classes above only: every image gets one of them, whatever it shows.",
    "Figures are of images like those that it was judged on. At another clinic, with another "
    "camera or other patients they may be far worse; so may the coverage of prediction sets.",
    "Figures of a class or a hospital with few images are uncertain: look at n.",
    "Whether it is equally good for all skin colours, ages and sexes was not examined.",
    "Nobody has examined it for use with patients.",
)


def write_model_card(
    source: Path, exported: ExportedModel, path: Path, beside: Sequence[Path]
) -> None:
    """Write the card as Markdown.

    Args:
        source: the run folder.
        beside: files that were exported with it, whose sha256 it names.

    Raises:
        ExportError: the source is a model file, which knows nothing of data and figures.
    """
    if not source.is_dir():
        raise ExportError(
            f"--card: {source} knows nothing of its data and figures; give the run folder"
        )
    sums = {file.name: sha256_of(file) for file in beside}
    run = read_run_results(source)
    with faults_told(source):
        card = model_card(run, exported, sums)
    write_text(path, card)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_card(run: RunResults, exported: ExportedModel, sums: Mapping[str, str]) -> str:
    """Return the card as Markdown.

    Args:
        run: completed.
        sums: sha256 of each exported file, by name.
    """
    parts = {
        f"# Model card: {printable(run.name)}": [f"**{NOTICE}**", *_warned(run)],
        "## The model": _items(_model(run, exported, sums)),
        "## Data": _items(_data(run)) + _clients(run),
        "## Licences": _items(_licences(run, exported)),
        "## Figures": [*_behind(run), *_figures(run)],
        "## Limits": [f"- {line}" for line in _limits(run, exported)],
        "## How it was trained": _trained(run),
    }
    blocks = ["\n".join([heading, "", *lines]) for heading, lines in parts.items()]
    return "\n\n".join(blocks) + "\n"


def _items(facts: Mapping[str, object]) -> list[str]:
    return [f"- {name}: {value}" for name, value in facts.items() if value not in (None, "", False)]


def _warned(run: RunResults) -> list[str]:
    return ["", f"**{run.synthetic_line}.**"] if run.synthetic_line else []


def _model(run: RunResults, exported: ExportedModel, sums: Mapping[str, str]) -> dict[str, object]:
    config, metrics, spec = run.config, run.metrics, exported.spec
    words = find_dataset(config.dataset).names_in_words(run.classes)
    named = [f"`{name}` ({said})" for name, said in zip(run.classes, words, strict=True)]
    weights, _ = exported.model.load()
    return {
        "network": f"`{spec.name}`, {spec.builder} of {spec.provider}",
        "objective": config.objective,
        "trained part": f"`trainable = {config.trainable}`",
        "chosen": f"{run.unit} {metrics['best_round']} of {metrics['rounds']}, the best by "
        f"{str(metrics['best_by']).upper()} on the validation images",
        "input": f"RGB, {config.image_size} x {config.image_size} pixels: "
        f"{preprocessing_in_words(config)}",
        "normalisation": f"mean {spec.mean}, standard deviation {spec.std}",
        "classes, in the order of the outputs": ", ".join(map(printable, named)),
        "sha256 of the weights, as `metrics.json` computes it": f"`{weights_sha256(weights)}`",
        **{f"sha256 of `{printable(name)}`": f"`{found}`" for name, found in sums.items()},
    }


def _data(run: RunResults) -> dict[str, object]:
    data, config = run.manifest["data"], run.config
    reference = data.get("reference")
    return {
        "data set": find_dataset(config.dataset).title,
        "images": data.get("images"),
        "sha256 of the images and labels": f"`{data['fingerprint']}`",
        "partition": "the hospitals' own images" if run.deployed else _partition(run),
        "set aside": _set_aside(run),
        "test images": data.get("test_images") or "no global test set",
        "test images in training": _leaks(data),
        "split": _split(run),
        "left out": left_out_note(data) or (data.get("left_out") and _left_out(data["left_out"])),
        "copies": copies_note(data),
        "reference images": reference and reference["images"],
        "notes": " ".join(map(printable, data.get("notices", ()))),
    }


def _set_aside(run: RunResults) -> str:
    if run.deployed:
        return "known to the hospitals only"
    aside = run.manifest["data"]["set_aside"].items()
    return ", ".join(f"{len(names)} ({printable(why)})" for why, names in aside) or "none"


def _leaks(data: Mapping[str, Any]) -> str | None:
    if not data.get("test_images"):
        return None
    found = overlap_note(data)
    if found is None:
        found = "none found"
        if not data["overlap"]["lesions_known"]:
            found += ", but lesions are not known, so other images of the same ones may be"
    return found


def _split(run: RunResults) -> str:
    if find_dataset(run.config.dataset).sliced:
        return "no patient is in more than one part"
    said = f"`split-by = {run.config.split_by}`"
    if run.config.split_by == "image":
        said += ": images of one lesion may be in more than one part"
    return said


def _partition(run: RunResults) -> str | None:
    if "clients" not in run.manifest:
        return "centralized: one place has all images"
    return f"simulated clients, `partition = {run.config.partition}`"


def _left_out(left_out: Mapping[str, Any]) -> str:
    return f"{left_out['images']} images of {printable(left_out['source'])}"


def _clients(run: RunResults) -> list[str]:
    clients = run.manifest.get("clients", {})
    if not clients:
        return []
    rows = []
    for name, about in clients.items():
        cells = [printable(name).replace("|", " "), *(about.get(s, "–") for s in _SPLITS)]
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return ["", f"| hospital | {' | '.join(_SPLITS)} |", "|---|---:|---:|---:|", *rows]


def _licences(run: RunResults, exported: ExportedModel) -> dict[str, object]:
    dataset, text = find_dataset(run.config.dataset), run.manifest.get("text")
    synthetic = "none: they are synthetic" if run.synthetic else None
    return {
        "images": synthetic or dataset.licence or "not known: ask who owns the images",
        "weights that the training began with": weights_licence(run.config, exported.spec),
        "text encoder": text and f"{text['encoder']}, weights {text['weights']}",
        "this model": "not stated: it is bound by the terms above",
    }


def _behind(run: RunResults) -> list[str]:
    return [f"{line.plain}  " for line in behind(run.metrics)] + [""]


def _figures(run: RunResults) -> Iterator[str]:
    """Yield the report's tables; the one of clients has times and bytes, and is left out."""
    if "shared" in run.metrics:
        yield (
            "All figures are of the shared model, also those of the hospitals: those of their own "
            "models are in the run's report, and say nothing of this one.\n"
        )
    for table in run_tables(run.of_shared_model):
        if table.name != "clients":
            yield "#" + table.markdown()


def _limits(run: RunResults, exported: ExportedModel) -> Iterator[str]:
    config = run.config
    yield from _LIMITS
    if exported.model.uncalibrated:
        yield f"Its probabilities are not calibrated: {exported.model.uncalibrated}."
    if METHODS[config.strategy].has_own_models:
        yield "The clients' own models are not in it: it is the shared one."
    if "heads" in run.metrics:
        yield "The heads on its features, such as KNN, are in the tables but not in the model."
    if config.test_batchnorm != "stored":
        yield (
            "Its test figures were computed with BatchNorm's statistics of the test images; the "
            "model has those of training."
        )


def _method(strategy: str) -> str:
    """Return the spelling of a method and its source."""
    method = METHODS[strategy]
    return printable(f"{method.title}: {method.paper}, {method.equation}", 300)


def _trained(run: RunResults) -> list[str]:
    manifest = run.manifest
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    plugins = ", ".join(
        f"{name} {version}" for name, version in manifest.get("plugins", {}).items()
    )
    facts = _items(
        {
            "method": "clients" in manifest and _method(run.config.strategy),
            "commit of fedskin": manifest.get("git_commit") or "not known",
            "versions": versions,
            "plug-ins": plugins,
            "device": manifest.get("device"),
            "started": manifest.get("started"),
        }
    )
    # Names of folders are of one machine, and may name people.
    again = run.again.replace(f"{run.folder.path.parent}/", "")
    flat = {key: value for key, value in run.config.to_flat().items() if key not in PATH_KEYS}
    told = "The command that repeats it, with the keys of folders (`data-dir` and others) added:"
    config = ["", "```toml", tomli_w.dumps(flat).rstrip(), "```"]
    return [*facts, "", told, "", "```sh", again, "```", *config]
