"""A network in open_clip's own form: a folder with a whole CLIP model, the image tower the run's.

Under objective ``clip`` the run's projection becomes that of the tower, so that the model compares
images and texts as the run does. Of a classifier the tower is as open_clip has it, and its features
enter a linear layer in a file of its own.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from experiments.exporting.exported_model import ExportedModel, ExportError
from experiments.exporting.library_folder import (
    TOLERANCE,
    check_is_new,
    contiguous,
    random_images,
    said,
)
from models.clip import ImageTextClassifier
from models.errors import BackboneError
from models.hub_files import read_tensors
from models.open_clip_provider import FILE_NAME
from models.text_encoders import TEXT_ENCODERS, TextEncoderSpec, find_text_encoder, weights_file
from models.text_tower import RANDOM_LOGIT_SCALE, random_tower
from operation.files import creating_folder, write_json
from training.clip_text import prompts_of

CONFIG_NAME = "open_clip_config.json"
CLASSIFIER_NAME = "classifier.safetensors"


def write_open_clip_folder(exported: ExportedModel, path: Path) -> float:
    """Write a new folder that open_clip loads as ``local-dir:``.

    Returns:
        The largest difference of an image's features (of a classifier of its outputs) or of a
        probability, of the loaded model and fedskin's network, for random images and the run's
        prompts.

    Raises:
        ExportError: open_clip has no such network, the text tower's weights are not here or not
            those of the run, the answers differ, or the folder is not empty; then nothing is
            written.
        WeightsError: the text tower's weights are damaged.
    """
    check_is_new(path)
    config, network = exported.config, exported.network
    if config.trainable == "adapter":
        raise ExportError("trainable = adapter: open_clip has no network with this adapter")
    encoder = _text_encoder(exported)
    model_config, tower = _image_tower(exported, encoder)
    text = _text_tower(exported, encoder)
    tensors = {**{f"visual.{name}": tensor for name, tensor in tower.items()}, **text}
    spec, size = exported.spec, config.image_size
    described: dict[str, object] = {
        "model_cfg": model_config,
        "preprocess_cfg": {
            "size": (size, size),
            "mode": "RGB",
            "mean": spec.mean,
            "std": spec.std,
            "interpolation": "bilinear",
            "resize_mode": "shortest" if config.keeps_aspect else "squash",
            "fill_color": 0,
        },
        **said(exported),
    }
    if isinstance(network, ImageTextClassifier):
        tensors["logit_scale"] = torch.tensor(math.log(network.logit_scale))
        described["prompts"] = prompts_of(config, exported.model.classes)
    with creating_folder(path) as folder:
        save_file(contiguous(tensors), folder / FILE_NAME)
        write_json(folder / CONFIG_NAME, described)
        if not isinstance(network, ImageTextClassifier):
            save_file(contiguous(network.head.state_dict()), folder / CLASSIFIER_NAME)
        return _checked(exported, folder)


def _text_encoder(exported: ExportedModel) -> TextEncoderSpec:
    """Return the run's text encoder; of a classifier that which belongs to its image tower."""
    config = exported.config
    if config.objective == "clip":
        return find_text_encoder(config.text_encoder)
    if exported.spec.provider != "open_clip":
        raise ExportError(
            f"{config.backbone}: open_clip has classifiers of its own image towers only; export it "
            "with --timm or --onnx"
        )
    own = {each.image_tower: each for each in TEXT_ENCODERS.values()}.get(config.backbone)
    try:
        return own or find_text_encoder(config.backbone)
    except BackboneError as error:
        raise ExportError(f"{error}; export it with --onnx") from None


def _text_tower(exported: ExportedModel, encoder: TextEncoderSpec) -> dict[str, Tensor]:
    """Return a text tower's tensors, and its ``logit_scale``, under open_clip's names."""
    config = exported.config
    if not config.pretrained:
        scale = torch.tensor(math.log(RANDOM_LOGIT_SCALE))
        return {**random_tower(encoder, config.seed).state_dict(), "logit_scale": scale}
    file = weights_file(encoder)
    found = file.find(Path(config.weights_dir) if config.weights_dir else None)
    if found is None:
        where = config.weights_dir or "the hub's cache"
        raise ExportError(
            f"--open-clip: the weights of the text tower {encoder.name} are not in {where} "
            f"({file.file_name} of {file.repository or file.name}); put them there, or export the "
            "run with --onnx, which needs no text tower"
        )
    tensors = read_tensors(found)
    return {name: each for name, each in tensors.items() if not name.startswith("visual.")}


def _image_tower(
    exported: ExportedModel, encoder: TextEncoderSpec
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return open_clip's description of the model, and the image tower's tensors."""
    import open_clip
    from open_clip.transformer import VisionTransformer

    spec, network = exported.spec, exported.network
    model = open_clip.get_model_config(encoder.builder)
    if spec.provider == "timm":
        vision = {
            "image_size": exported.config.image_size,
            "timm_model_name": spec.builder,
            "timm_pool": "",
            **_LINEAR,
        }
        head = {f"head.proj.{name}": each for name, each in network.head.state_dict().items()}
        trunk = {f"trunk.{name}": each for name, each in network.trunk.state_dict().items()}
        return {**model, "vision_cfg": vision}, {**trunk, **head}
    if spec.provider != "open_clip":
        raise ExportError(
            f"{spec.name}: open_clip builds image towers of its own and of timm, not of "
            f"{spec.provider}; export it with --onnx"
        )
    own = open_clip.get_model_config(spec.builder)
    activations = {bool(each.get("quick_gelu")) for each in (own, model)}
    if len(activations) > 1 and isinstance(network.trunk, VisionTransformer):
        raise ExportError(
            f"{spec.name} and {encoder.name}: only one of the two has QuickGELU, and open_clip has "
            "one activation for both; export it with --onnx"
        )
    vision = {**own["vision_cfg"], "output_tokens": False}
    if not isinstance(network, ImageTextClassifier):
        return {**model, "vision_cfg": vision}, dict(network.trunk.state_dict())
    changes, state = _projected(network.trunk, network.head)
    return {**model, "vision_cfg": {**vision, **changes}}, state


_LINEAR = {"timm_model_pretrained": False, "timm_proj": "linear", "timm_proj_bias": True}


def _projected(tower: Any, head: nn.Linear) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the tensors of an image tower of open_clip that ends in a head's outputs.

    A tower ends in a linear layer, so layer and head are one linear layer: W₂(W₁x + b₁) + b₂.

    Args:
        tower: images → (B, E).
        head: (B, E) → (B, D).

    Returns:
        Changes of the tower's description, and the tensors.
    """
    from open_clip.transformer import VisionTransformer

    state = dict(tower.state_dict())
    weight, bias = head.weight.double(), head.bias.double()
    if isinstance(tower, VisionTransformer):
        # Its projection has no bias: the layer norm before it is shifted by what becomes the bias.
        projection = state["proj"].double() @ weight.T
        if len(projection) < len(bias):
            raise ExportError(
                f"the image tower is {len(projection)} wide and the text {len(bias)}, and "
                "open_clip's towers end in no bias; export it with --onnx"
            )
        shift = bias @ torch.linalg.pinv(projection)
        state["proj"] = projection.float()
        state["ln_post.bias"] = (state["ln_post.bias"].double() + shift).float()
        return {}, state
    name, last = _last_linear(tower)
    if last is None:
        state |= {f"head.proj.{key}": each for key, each in head.state_dict().items()}
        return _LINEAR, state
    state[f"{name}.weight"] = (weight @ last.weight.double()).float()
    before = 0.0 if last.bias is None else weight @ last.bias.double()
    state[f"{name}.bias"] = (before + bias).float()
    return {} if last.bias is not None else {"timm_proj_bias": True}, state


def _last_linear(tower: Any) -> tuple[str, nn.Linear | None]:
    """Return a tower's last linear layer with its name; None if it ends in pooled features."""
    from open_clip.modified_resnet import ModifiedResNet

    if isinstance(tower, ModifiedResNet):
        return "attnpool.c_proj", tower.attnpool.c_proj
    # Of timm: open_clip's own layers, or the classifier of timm's network.
    classifier = tower.trunk.get_classifier()
    for name, layer in tower.named_modules():
        last = name in ("head.proj", "head.mlp.fc2") or layer is classifier
        if last and isinstance(layer, nn.Linear):
            return name, layer
    return "", None


def _checked(exported: ExportedModel, folder: Path) -> float:
    """Load a folder as its users do, and return the largest difference of an answer.

    Raises:
        ExportError: open_clip cannot load it, or answers otherwise.
    """
    import open_clip

    network, name = exported.network, exported.spec.name
    try:
        model = open_clip.create_model(f"local-dir:{folder}").eval()
    except RuntimeError as error:
        cause = str(error).splitlines()[-1].strip()
        raise ExportError(
            f"{name}: open_clip's network has other layers ({cause}); export it with --onnx"
        ) from None
    images = random_images(exported.config.image_size)
    with torch.inference_mode():
        if isinstance(network, ImageTextClassifier):
            tokens = open_clip.tokenize(prompts_of(exported.config, exported.model.classes))
            text = model.encode_text(tokens, normalize=True)
            if not (text - network.text).abs().max() <= TOLERANCE:
                raise ExportError(
                    f"--open-clip: the weights of the text tower {exported.config.text_encoder} "
                    "are not those that the run's text features are from; export it with --onnx"
                )
            found = model.encode_image(images, normalize=True)
            logits = model.logit_scale.exp() * found @ text.T
            # Probabilities of 0 and 1, which a large scale gives, hide differences.
            differences = [found - network.embeddings(images)]
        else:
            logits = network.head(model.encode_image(images))
            differences = [logits - network(images)]
        differences.append(logits.softmax(1) - network(images).softmax(1))
    difference = float(torch.cat([each.abs().flatten() for each in differences]).max())
    if not difference <= TOLERANCE:  # NaN, too
        raise ExportError(
            f"{name}: open_clip's model answers otherwise, by up to {difference:.2g}; export it "
            "with --onnx"
        )
    return difference
