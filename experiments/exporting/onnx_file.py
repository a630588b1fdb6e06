"""A network as an ONNX file: normalisation, network, softmax, temperature, and facts about it."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from experiments.exporting.exported_model import ExportedModel, ExportError
from models.clip import ImageTextClassifier
from models.errors import first_line
from operation.files import replacing

if TYPE_CHECKING:
    from models.backbones import Backbone

TOLERANCE = 1e-4
"""The largest difference of a probability between torch and onnxruntime that is accepted."""

_COARSE = 0.01
"""The same where the logits are so far apart that probabilities hide differences. Rounding stays
below it, which may be 10⁻³ of what the logits of random images are apart."""

IMAGES, PROBABILITIES, CALIBRATED = "images", "probabilities", "calibrated"

_OPSET = 18  # known to every onnxruntime since 2023
_LARGEST = 2**31 - 2**20  # bytes: protobuf cannot hold 2 GiB
_CHECKED = (1, 3)  # numbers of random images; another one is traced
_OPERATOR = re.compile(r"\b(?:aten|prims|torchvision|higher_order)[.:]+[A-Za-z_]\w*(?:\.\w+)?")


@dataclass(frozen=True)
class Written:
    """What was written."""

    difference: float  # the largest between torch's and onnxruntime's probabilities
    outputs: tuple[str, ...]
    size: int  # image side in pixels


class ExportedClassifier(nn.Module):
    """Images (N, 3, S, S) float32 in [0, 1] → their probabilities (N, K).

    The first output is the softmax of the network's outputs, to which the thresholds of prediction
    sets apply. With a temperature T there is a second one: the softmax of the outputs divided by T.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: Backbone,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        temperature: float | None,
    ) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def logits(self, images: Tensor) -> Tensor:
        """Return the network's outputs."""
        normalised = (images - self.mean) / self.std
        if isinstance(self.network, ImageTextClassifier):  # the exporter knows no autocast
            embeddings = self.network.embeddings(normalised)
            return self.network.logit_scale * (embeddings @ self.network.text.T)
        return self.network(normalised)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs."""
        logits = self.logits(images)
        probabilities = logits.softmax(dim=1)
        if self.temperature is None:
            return (probabilities,)
        return probabilities, (logits / self.temperature).softmax(dim=1)


def write_onnx(exported: ExportedModel, path: Path) -> Written:
    """Write the file, and compare it with torch on random images before it gets its name.

    Raises:
        ExportError: the extra is not installed, an operator cannot be written as ONNX, the network
            is too large for one file, or the answers differ; then nothing is written.
    """
    _check_installed()
    config, spec = exported.config, exported.spec
    num_bytes = sum(t.numel() * t.element_size() for t in exported.network.state_dict().values())
    if num_bytes > _LARGEST:
        raise ExportError(f"{spec.name}: has {num_bytes / 1e9:.1f} GB; ONNX files end at 2 GB")
    known = exported.model.calibration
    temperature = None if known is None else known.temperature
    classifier = ExportedClassifier(exported.network, spec.mean, spec.std, temperature).eval()
    outputs = (PROBABILITIES,) if known is None else (PROBABILITIES, CALIBRATED)
    size = config.image_size
    program = _converted(classifier, spec.name, size, outputs)
    _strip(program)
    pixels = f"float32 (N, 3, {size}, {size}), RGB in 0 to 1, normalised in the file"
    program.model.metadata_props.update({"input": f"{IMAGES}: {pixels}", **exported.facts()})
    with replacing(path) as temporary:
        program.save(temporary, external_data=False)
        difference, hidden = _largest_differences(classifier, temporary, size)
        if not (difference <= TOLERANCE and hidden <= _COARSE):  # NaN, too
            raise ExportError(
                f"{spec.name}: onnxruntime's probabilities differ from torch's by up to "
                f"{difference:.2g} (allowed is {TOLERANCE:g}) and its logits by {hidden:.2g} of "
                f"what they are apart ({_COARSE:g}), so {path} was not written"
            )
    return Written(difference, outputs, size)


def _check_installed() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise ExportError(
            "--onnx: the extra 'export' is not installed; in the checkout: "
            "pip install -c constraints.txt -e '.[export]'"
        ) from None


def _converted(
    classifier: ExportedClassifier, name: str, size: int, outputs: tuple[str, ...]
) -> Any:
    """Return torch's ONNX program, for any number of images."""
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    try:
        with _silent():
            return torch.onnx.export(
                classifier,
                (images,),
                input_names=[IMAGES],
                output_names=outputs,
                opset_version=_OPSET,
                dynamic_shapes=({0: torch.export.Dim("N")},),
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ExportError(f"{name}: cannot be written as ONNX: {_why(error)}") from error


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the exporter from telling about its own future and what it does not optimise."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _why(error: BaseException) -> str:
    """Return the operator that the exporter stumbled over, or else the first line of the cause."""
    causes = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    for each in reversed(causes):
        if found := _OPERATOR.search(str(each)):
            return f"operator {found[0]}"
    return first_line(causes[-1])


def _strip(program: Any) -> None:
    """Remove what the exporter notes at each operation: stack traces, with this machine's paths."""
    from onnx_ir.traversal import RecursiveGraphIterator

    for node in RecursiveGraphIterator(program.model.graph):
        node.doc_string = None
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*program.model.graph.inputs, *program.model.graph.initializers.values()):
        value.metadata_props.clear()


def _largest_differences(
    classifier: ExportedClassifier, path: Path, size: int
) -> tuple[float, float]:
    """Return how far two programs' answers to random images differ at most.

    Each image is four by four random colours, blurred, and a little noise: noise alone, which no
    photograph is, makes some networks' activations so large that float32's rounding counts.

    Returns:
        The largest difference of an output; and, since probabilities near 0 and 1 hide any
        difference of the logits that they are from, that of the probabilities which the logits
        would give if their standard deviation were 1, or as it is if that is less.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = torch.get_num_threads()
    model = onnx.load(path)
    (softmax,) = (node for node in model.graph.node if PROBABILITIES in node.output)
    model.graph.output.append(onnx.ValueInfoProto(name=softmax.input[0]))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    del model
    generator = torch.Generator().manual_seed(0)
    ours: list[tuple[Tensor, ...]] = []
    theirs: list[tuple[Tensor, ...]] = []
    for number in _CHECKED:
        colours = torch.rand((number, 3, 4, 4), generator=generator)
        noise = torch.rand((number, 3, size, size), generator=generator)
        images = 0.9 * interpolate(colours, (size, size), mode="bilinear") + 0.1 * noise
        with torch.inference_mode():
            ours.append((*classifier(images), classifier.logits(images)))
        theirs.append(tuple(map(torch.from_numpy, session.run(None, {IMAGES: images.numpy()}))))
    (*mine, logits), (*other, their_logits) = (
        map(torch.cat, zip(*each, strict=True)) for each in (ours, theirs)
    )
    spread = max(1.0, float((logits - logits.mean(1, keepdim=True)).std()))
    hidden = (logits / spread).softmax(1) - (their_logits / spread).softmax(1)
    plain = [float((a - b).abs().max()) for a, b in zip(mine, other, strict=True)]
    return float(np.max(plain)), float(hidden.abs().max())  # NaN if one is
