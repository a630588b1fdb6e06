"""The backbones: the builders that read the table in ``models/registry.py``.

The architectures are torchvision's and open_clip's. Each becomes a ``Backbone``: a trunk, which
ends in one feature vector an image, and one linear head. In a state dict the trunk's names are its
library's behind ``trunk.``; the head's are ``head.weight`` and ``head.bias``, whatever the
architecture. Where not all of it is trained, what is stands beside the frozen trunk, as
``adapter.``, or within it (``models/lora.py``).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from models import clip_trunks, torchvision_trunks
from models.adapters import GatedAdapter
from models.errors import BackboneError
from models.registry import BackboneSpec, check_image_size, find
from models.seeding import seeded_globally


class _Library(Protocol):
    """What a library's module offers, by the value of ``BackboneSpec.library``."""

    def build_trunk(self, spec: BackboneSpec, device: str) -> nn.Module: ...
    def locate_weights(self, spec: BackboneSpec, weights_dir: Path | None) -> Path: ...
    def load_weights(self, trunk: nn.Module, spec: BackboneSpec, path: Path) -> None: ...


_LIBRARIES: Mapping[str, _Library] = {
    "torchvision": torchvision_trunks,
    "open_clip": clip_trunks,
}


class Backbone(nn.Module):
    """An image classifier: trunk, one feature vector an image, linear head.

    The *sent part* of its state dict is what training changes: all of it or, where some parameters
    are frozen, exactly the others. The rest is the *base*, which nothing changes: a trunk with
    frozen parameters is in evaluation mode whatever `train` says.

    Attributes:
        trunk: (B, 3, S, S) float32 images → (B, width) features: what torchvision's network
            feeds its own last Linear layer, or the projected embedding of a CLIP image tower.
            ``nn.Identity`` where the images have become features already.
        adapter: (B, width) → (B, width); ``nn.Identity`` unless the adapter is trained.
        head: (B, width) features → (B, num_classes) logits; under the CLIP objective the
            projection to the text encoder's width D, which then stands for ``num_classes``.
    """

    def __init__(self, trunk: nn.Module, head: nn.Linear, adapter: nn.Module | None = None) -> None:
        super().__init__()
        self.trunk = trunk
        self.adapter = nn.Identity() if adapter is None else adapter
        self.head = head

    def features(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, S, S) float32 → what enters the head, (B, width)."""
        features: Tensor = self.adapter(self.trunk(images))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, S, S) float32 → logits (B, num_classes)."""
        logits: Tensor = self.head(self.features(images))
        return logits

    def train(self, mode: bool = True) -> "Backbone":
        """As ``nn.Module``; a frozen trunk keeps its BatchNorm statistics and drops no block."""
        super().train(mode)
        if not all(parameter.requires_grad for parameter in self.trunk.parameters()):
            self.trunk.eval()
        return self

    def trained(self) -> dict[str, nn.Parameter]:
        """Return the parameters that are trained, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def sent_part(self) -> dict[str, Tensor]:
        """Return the part of the state dict that training changes."""
        state, trained = self.state_dict(), self.trained()
        if len(trained) == len(list(self.parameters())):
            return state
        return {name: tensor for name, tensor in state.items() if name in trained}

    def base(self) -> dict[str, Tensor]:
        """Return the rest of the state dict."""
        sent = self.sent_part()
        return {name: t for name, t in self.state_dict().items() if name not in sent}


def build(
    name: str,
    num_classes: int,
    *,
    pretrained: bool,
    image_size: int,
    seed: int,
    weights_dir: Path | None = None,
    identity_head: bool = False,
    trainable: str = "all",
) -> Backbone:
    """A backbone on the CPU, in training mode; equal arguments give equal weights.

    The trunk starts from published weights (ImageNet's, or OpenAI's for a CLIP image tower) or,
    drawn from ``seed``, from its library's random ones (then it depends neither on
    ``num_classes`` nor on ``image_size``). The head is new in either case: uniform in ±1/√width,
    bias included, also where torchvision has none (maxvit_t) or starts at zero (vit_l_16).

    Args:
        name: a name in ``BACKBONES``.
        num_classes: number of outputs, at least 1.
        pretrained: whether the trunk starts from published weights.
        image_size: the pixels its images will have; only checked.
        seed: of all that is random here.
        weights_dir: folder of weight files; None: torch.hub's or the hub's, or the network.
        identity_head: whether the head starts as the identity instead, so that an image tower
            trained against its own text encoder starts from CLIP's alignment of the two.
        trainable: ``all``, or what is trained over a frozen trunk: ``head``, ``adapter`` (and
            head), ``lora`` (and head). Neither trunk nor head start otherwise for it.

    Raises:
        BackboneError: unknown name or impossible image size, or an identity between unequal widths.
        WeightsError: the pretrained weights are missing or unusable.
    """
    check_image_size(name, image_size)
    spec = find(name)
    if identity_head and num_classes != spec.width:
        raise BackboneError(
            f"{name} has {spec.width} features, so no identity leads to {num_classes} outputs"
        )
    library = _LIBRARIES[spec.library]
    with seeded_globally(seed):
        if pretrained:
            # On meta no time is spent on weights that are about to be replaced.
            trunk = library.build_trunk(spec, "meta")
            library.load_weights(trunk, spec, library.locate_weights(spec, weights_dir))
        else:
            trunk = library.build_trunk(spec, "cpu")
        head = nn.Linear(spec.width, num_classes)
        model = _assemble(trunk, head, trainable)
    if identity_head:
        nn.init.eye_(head.weight)
        nn.init.zeros_(head.bias)
    return model


def build_empty(
    name: str, num_classes: int, *, image_size: int, trainable: str = "all"
) -> Backbone:
    """A backbone on the CPU whose tensors, buffers too, hold whatever the memory held.

    For a receiver of weights: follow it at once by a strict ``load_state_dict`` of a whole state
    dict, which costs a copy, where drawing convnext_l's weights costs seconds. All buffers of
    these networks are in their state dicts, so nothing stays undefined.

    Raises:
        BackboneError: unknown name or impossible image size.
    """
    check_image_size(name, image_size)
    # Not left on meta for an assigning load: the model would then share, and training would
    # overwrite, the received tensors, which FedProx still needs.
    return outline(name, num_classes, trainable=trainable).to_empty(device="cpu")


def outline(name: str, num_classes: int, *, trainable: str = "all") -> Backbone:
    """A backbone on the meta device: names and shapes, and no numbers.

    Raises:
        BackboneError: unknown name.
    """
    spec = find(name)
    trunk = _LIBRARIES[spec.library].build_trunk(spec, "meta")
    return _assemble(trunk, nn.Linear(spec.width, num_classes, device="meta"), trainable)


def over_features(name: str, num_classes: int, *, trainable: str) -> Backbone:
    """The trained part of a backbone, on the CPU, for features in the place of images.

    No trunk is built, and no library loaded that has one. As of `build_empty`, its tensors hold
    whatever the memory held.

    Args:
        name: a name in ``BACKBONES``.
        num_classes: number of outputs.
        trainable: ``head`` or ``adapter``.
    """
    head = nn.Linear(find(name).width, num_classes, device="meta")
    return _assemble(nn.Identity(), head, trainable).to_empty(device="cpu")


def locate_pretrained(name: str, weights_dir: Path | None) -> Path:
    """Return the file of a backbone's pretrained weights, downloaded if need be.

    Raises:
        BackboneError: unknown name.
        WeightsError: it is not in ``weights_dir``, or cannot be downloaded, or is damaged.
    """
    spec = find(name)
    return _LIBRARIES[spec.library].locate_weights(spec, weights_dir)


def _assemble(trunk: nn.Module, head: nn.Linear, trainable: str) -> Backbone:
    if trainable == "all":
        return Backbone(trunk, head)
    trunk.requires_grad_(False)
    if trainable == "lora":
        from models.lora import add_lora

        add_lora(trunk)
    if trainable == "adapter":
        return Backbone(trunk, head, GatedAdapter(head.in_features).to(head.weight.device))
    return Backbone(trunk, head)
