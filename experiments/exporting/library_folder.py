"""A network in its library's own form: timm's folder, or torchvision's names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from experiments.exporting.exported_model import ExportedModel, ExportError
from operation.files import creating_folder, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE_NAME = "model.safetensors"
TOLERANCE = 1e-4
"""The largest difference of an output between the library's network and fedskin's."""


def write_library_folder(exported: ExportedModel, path: Path) -> float:
    """Write a new folder that the backbone's library loads: the weights, and config.json.

    Returns:
        The largest difference of an output, of the library's network and fedskin's, for random
        images.

    Raises:
        ExportError: the library has no such network, its answers differ, or the folder is not
            empty; then nothing is written.
    """
    config, spec = exported.config, exported.spec
    check_is_new(path)
    if config.objective != "classifier":
        raise ExportError(
            f"objective = {config.objective}: {spec.provider} has no network that compares images "
            "with text; export it with --onnx or --open-clip"
        )
    if config.trainable == "adapter":
        raise ExportError(
            f"trainable = adapter: {spec.provider} has no network with this adapter; export it "
            "with --onnx"
        )
    network = _of_library(exported)
    difference = _largest_difference(network, exported)
    if not difference <= TOLERANCE:  # NaN, too
        raise ExportError(
            f"{spec.name}: {spec.provider}'s network answers otherwise, by up to {difference:.2g}"
        )
    with creating_folder(path) as folder:
        if spec.provider == "timm":
            _save_timm(network, exported, folder)
        else:
            save_file(contiguous(network.state_dict()), folder / FILE_NAME)
            facts = {
                "architecture": spec.builder,
                "num_classes": len(exported.model.classes),
                "input_size": (3, config.image_size, config.image_size),
                "mean": spec.mean,
                "std": spec.std,
            }
            write_json(folder / "config.json", {**facts, **said(exported)})
    return difference


def _of_library(exported: ExportedModel) -> nn.Module:
    """Return the library's network with a classifier of K classes, filled with the weights."""
    spec, num_classes = exported.spec, len(exported.model.classes)
    if spec.provider == "timm":
        import timm

        network: nn.Module = timm.create_model(spec.builder, num_classes=num_classes)
        facts = timm.get_pretrained_cfg(spec.builder)
        name = facts and facts.classifier
    elif spec.provider == "torchvision":
        from torchvision.models import get_model

        network = get_model(spec.builder, weights=None, num_classes=num_classes)
        name = spec.classifier
    else:
        raise ExportError(
            f"{spec.name}: only networks of timm and torchvision have a form of their own with a "
            "classifier; export it with --onnx or --open-clip"
        )
    if not isinstance(name, str) or not isinstance(network.get_submodule(name), nn.Linear):
        raise ExportError(f"{spec.name}: does not end in one linear layer in {spec.provider}")
    trained = exported.network
    state = {
        **trained.trunk.state_dict(),
        **{f"{name}.{key}": tensor for key, tensor in trained.head.state_dict().items()},
    }
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        cause = str(error).splitlines()[-1].strip()
        raise ExportError(
            f"{spec.name}: {spec.provider}'s network has other layers ({cause}); export it with "
            "--onnx"
        ) from None
    return network.eval()


def _largest_difference(network: nn.Module, exported: ExportedModel) -> float:
    images = random_images(exported.config.image_size)
    with torch.inference_mode():
        return float((network(images) - exported.network(images)).abs().max())


def _save_timm(network: nn.Module, exported: ExportedModel, folder: Path) -> None:
    import timm

    spec, size = exported.spec, exported.config.image_size
    timm.models.save_for_hf(
        network,
        str(folder),
        model_config=said(exported),
        data_config={
            "input_size": (3, size, size),
            "mean": spec.mean,
            "std": spec.std,
            "crop_pct": 1.0,
            "interpolation": "bilinear",
        },
        safe_serialization=True,
    )


def check_is_new(path: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        ExportError: it does, or it is no folder.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ExportError(f"{path}: is there already; choose another folder")


def random_images(size: int) -> Tensor:
    """Return two normalised images (2, 3, size, size) of no thing, to compare answers on."""
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def said(exported: ExportedModel) -> dict[str, object]:
    """Return the classes as timm names them, and what fedskin says of the network."""
    return {"label_names": list(exported.model.classes), "fedskin": exported.facts()}


def contiguous(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors as safetensors files take them."""
    return {name: tensor.contiguous() for name, tensor in state.items()}
