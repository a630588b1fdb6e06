"""A run's best network for other programs: ``fedskin export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.console import Console
from experiments.options import WeightsOption

if TYPE_CHECKING:
    from experiments.exporting.exported_model import ExportedModel

console = Console()


def export_command(
    source: Annotated[Path, typer.Argument(metavar="RUN_DIR|MODEL.safetensors")],
    onnx: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the network as an ONNX file.")
    ] = None,
    timm: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write a folder that timm (or torchvision) loads."),
    ] = None,
    open_clip: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write a folder that open_clip loads as a CLIP model."),
    ] = None,
    card: Annotated[
        Path | None,
        typer.Option(metavar="FILE.md", help="Write a card: data, licences, figures, limits."),
    ] = None,
    weights: WeightsOption = "best",
) -> None:
    """Write a network of the finished run in RUN_DIR for other programs.

    The ONNX file takes float32 images (N, 3, S, S), RGB in 0 to 1, of the run's image-size S. It
    holds normalisation, network and softmax, and in its metadata the class names, the calibration
    and how images are resized; see docs/export.md. It is compared with torch on random images
    before it is written. It needs the extra export.

    The folder holds model.safetensors and config.json: timm.create_model("local-dir:DIR",
    pretrained=True) loads it. Of a network of torchvision the tensors have torchvision's names.

    With --open-clip it is that of a whole CLIP model, whose image tower is the run's: of objective
    clip, on a backbone of open_clip or timm, or of a classifier on a backbone of open_clip.
    open_clip.create_model_and_transforms("local-dir:DIR") loads it.

    The card tells in Markdown what the model is, what it learned from, how good it is and where its
    limits are, with the sha256 of the files written beside it.

    Research software: not a medical device, and not for diagnosis.

    Examples:

    fedskin export runs/prox --onnx prox.onnx

    fedskin export runs/prox --onnx prox.onnx --card prox.md

    fedskin export runs/lite --timm lite

    fedskin export runs/vit --open-clip vit
    """
    # Imported here, since --help needs none of it.
    from experiments.exporting.exported_model import ExportError, open_for_export

    if not any((onnx, timm, open_clip, card)):
        raise ExportError(
            "nothing to write: give --onnx FILE, --timm DIR, --open-clip DIR or --card FILE.md"
        )
    if card is not None and weights != "best":
        raise ExportError("--card: describes a run's best model; leave out --weights")
    exported = open_for_export(source.absolute(), weights)
    if onnx is not None:
        _write_onnx(exported, onnx)
    if timm is not None:
        from experiments.exporting.library_folder import write_library_folder

        library, difference = exported.spec.provider, write_library_folder(exported, timm)
        console.say(
            f"Wrote {timm}: {library}'s network answers as fedskin's, within {difference:.2g}"
        )
    if open_clip is not None:
        from experiments.exporting.open_clip_folder import write_open_clip_folder

        difference = write_open_clip_folder(exported, open_clip)
        console.say(f"Wrote {open_clip}: open_clip answers as fedskin, within {difference:.2g}")
    if card is not None:
        from experiments.exporting.model_card import write_model_card

        files = [onnx, timm and timm / "model.safetensors"]
        files.append(open_clip and open_clip / "open_clip_model.safetensors")
        write_model_card(source.absolute(), exported, card, [path for path in files if path])
        console.say(f"Wrote {card}")
    for said in (exported.model.synthetic, exported.model.uncalibrated):
        if said:
            console.say(f"{said}.")


def _write_onnx(exported: ExportedModel, path: Path) -> None:
    from experiments.exporting.onnx_file import write_onnx

    written = write_onnx(exported, path)
    console.say(
        f"Wrote {path}: images float32 (N, 3, {written.size}, {written.size}) in 0 to 1; "
        f"{' and '.join(written.outputs)} (N, {len(exported.model.classes)})"
    )
    console.say(
        f"onnxruntime and torch differ by at most {written.difference:.2g} on random images."
    )
