"""A run's best network for other programs: ``fedskin export``."""

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from experiments.console import Console

console = Console()


def export_command(
    source: Annotated[Path, typer.Argument(metavar="RUN_DIR|MODEL.safetensors")],
    onnx: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the network as an ONNX file.")
    ] = None,
) -> None:
    """Write the best network of the finished run in RUN_DIR for other programs.

    The ONNX file takes float32 images (N, 3, S, S), RGB in 0 to 1, of the run's image-size S. It
    holds normalisation, network and softmax, and in its metadata the class names, the calibration
    and how images are resized; see docs/export.md. It is compared with torch on random images
    before it is written. It needs the extra export.

    Research software: not a medical device, and not for diagnosis.

    Examples:

    fedskin export runs/prox --onnx prox.onnx
    """
    # Imported here, since --help needs none of it.
    from experiments.exporting.exported_model import ExportError, open_for_export

    if onnx is None:
        raise ExportError("nothing to write: give --onnx FILE")
    exported = open_for_export(source.absolute())
    from experiments.exporting.onnx_file import write_onnx

    written = write_onnx(exported, onnx)
    console.say(
        f"Wrote {onnx}: images float32 (N, 3, {written.size}, {written.size}) in 0 to 1; "
        f"{' and '.join(written.outputs)} (N, {len(exported.model.classes)})"
    )
    console.say(
        f"onnxruntime and torch differ by at most {written.difference:.2g} on random images."
    )
    with onnx.open("rb") as file:
        console.say(f"sha256 {hashlib.file_digest(file, 'sha256').hexdigest()}")
    for said in (exported.model.synthetic, exported.model.uncalibrated):
        if said:
            console.say(f"{said}.")
