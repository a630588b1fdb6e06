"""The backbones: the builders that read the table in ``models/registry.py``.

The architectures are those of its providers. Each becomes a ``Backbone``: a trunk, which
ends in one feature vector an image, and one linear head. In a state dict the trunk's names are its
library's behind ``trunk.``; the head's are ``head.weight`` and ``head.bias``, whatever the
architecture. If only a part is trained, it is beside the frozen trunk, as ``adapter.``, or inside
it (``models/lora.py``).
"""

from pathlib import Path

from torch import Tensor, nn

from models.empty_device import in_memory
from models.errors import BackboneError
from models.provider import BackboneSpec
from models.registry import PROVIDERS, check_image_size, find_backbone
from models.seeding import seeded_globally
from models.trunk_facts import is_all_in_state, run_empty

# As in squeeze-and-excitation (Hu et al., Squeeze-and-Excitation Networks, 2018, section 6.1),
# whose gate has this form.
REDUCTION = 16


class GatedAdapter(nn.Module):
    """Multiplies each feature by a gate computed from all features.

    Lu et al., FedCLIP: Fast Generalization and Personalization for CLIP in Federated Learning,
    2023, section 3.3: att(x) ⊙ x, where att is two linear layers and a softmax over the features.
    Here the first layer is a bottleneck, so that little is sent, and the softmax is scaled by the
    width, so that uniform gates are 1: the adapter starts there, as the identity.

    Args:
        width: number of features, at least ``REDUCTION``.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(width, width // REDUCTION)
        self.gate = nn.Linear(width // REDUCTION, width)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, width) → x ⊙ (width · softmax(W₂ relu(W₁ x))), (B, width)."""
        gate = self.gate(self.squeeze(features).relu()).softmax(dim=1)
        return features * (gate * features.shape[1])


class Backbone(nn.Module):
    """An image classifier: trunk, one feature vector an image, linear head.

    The *sent part* of its state dict is what training changes: all of it or, if some parameters
    are frozen, exactly the others. The rest is the *base*, which never changes: a trunk with
    frozen parameters stays in evaluation mode even after `train`.

    Attributes:
        trunk: (B, 3, S, S) float32 images → (B, width) features: what torchvision's network
            feeds its own last Linear layer, timm's pooled features, or the projected embedding of
            a CLIP image tower.
            ``nn.Identity`` if the input is already features.
        adapter: (B, width) → (B, width); ``nn.Identity`` unless the adapter is trained.
        head: (B, width) features → (B, num_classes) logits; under the CLIP objective the
            projection to the text encoder's width D, which then replaces ``num_classes``.
    """

    def __init__(self, trunk: nn.Module, head: nn.Linear, adapter: nn.Module | None = None) -> None:
        super().__init__()
        self.trunk = trunk
        self.adapter = nn.Identity() if adapter is None else adapter
        self.head = head

    def features(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, S, S) float32 → the head's input, (B, width)."""
        features: Tensor = self.adapter(self.trunk(images))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, S, S) float32 → logits (B, num_classes)."""
        logits: Tensor = self.head(self.features(images))
        return logits

    def train(self, mode: bool = True) -> "Backbone":
        """Like ``nn.Module``; a frozen trunk keeps its BatchNorm statistics and drops no block."""
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


def build_backbone(
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
    """Build a backbone on the CPU, in training mode; equal arguments give equal weights.

    The trunk starts from published weights or from its library's random initialisation, drawn
    from ``seed`` (independent of ``num_classes`` and ``image_size``). The head is
    always new: uniform in ±1/√width, bias included, also if torchvision has no bias (maxvit_t) or
    starts at zero (vit_l_16).

    Args:
        pretrained: whether the trunk starts from published weights.
        image_size: the images' side in pixels; only checked.
        weights_dir: folder of weight files; None: the cache of torch.hub or the Hugging Face hub,
            or a download.
        identity_head: start with the identity as head, so that an image tower trained against its
            own text encoder starts from CLIP's alignment of the two.
        trainable: ``all``, or the part trained on a frozen trunk: ``head``, ``adapter`` (and
            head), ``lora`` (and head). It does not change the start of trunk and head.

    Raises:
        BackboneError: unknown name, impossible image size, or an identity head of unequal widths.
        WeightsError: the pretrained weights are missing or unusable.
    """
    check_image_size(name, image_size)
    spec = find_backbone(name)
    if identity_head and num_classes != spec.width:
        raise BackboneError(
            f"{name} has {spec.width} features, so no identity head has {num_classes} outputs"
        )
    provider = PROVIDERS[spec.provider]
    with seeded_globally(seed):
        if pretrained:
            trunk = _build_to_fill(spec)
            provider.load_weights(trunk, spec, provider.locate_weights(spec, weights_dir))
        else:
            trunk = provider.build_trunk(spec, "cpu")
        head = nn.Linear(spec.width, num_classes)
        model = _assemble(trunk, head, trainable)
    if identity_head:
        nn.init.eye_(head.weight)
        nn.init.zeros_(head.bias)
    return model


def build_empty(
    name: str, num_classes: int, *, image_size: int, trainable: str = "all"
) -> Backbone:
    """Build a backbone on the CPU with uninitialised tensors and buffers.

    For a receiver of weights: a strict ``load_state_dict`` of a whole state dict must follow
    immediately. It costs a copy, while drawing convnext_l's weights takes seconds. Only a network
    with tensors outside its state dict is drawn, so that nothing stays undefined.

    Raises:
        BackboneError: unknown name or impossible image size.
    """
    check_image_size(name, image_size)
    spec = find_backbone(name)
    with seeded_globally(0):
        trunk = _build_to_fill(spec)
        device = next(trunk.parameters()).device
        model = _assemble(trunk, nn.Linear(spec.width, num_classes, device=device), trainable)
    # Not left on meta for an assigning load: the model would then share the received tensors, and
    # training would overwrite them, but FedProx still needs them.
    return in_memory(model) if device.type == "meta" else model


def build_on_meta(name: str, num_classes: int, *, trainable: str = "all") -> Backbone:
    """Build a backbone on the meta device: names and shapes, no numbers.

    Raises:
        BackboneError: unknown name.
    """
    spec = find_backbone(name)
    trunk = PROVIDERS[spec.provider].build_trunk(spec, "meta")
    return _assemble(trunk, nn.Linear(spec.width, num_classes, device="meta"), trainable)


def over_features(name: str, num_classes: int, *, trainable: str) -> Backbone:
    """Build the trained part of a backbone on the CPU, for features instead of images.

    No trunk is built. The tensors are uninitialised, as in
    `build_empty`.

    Args:
        trainable: ``head`` or ``adapter``.
    """
    head = nn.Linear(find_backbone(name).width, num_classes, device="meta")
    return in_memory(_assemble(nn.Identity(), head, trainable))


def check_images(name: str, image_size: int) -> None:
    """Check that a backbone takes images of a size by running it without computing.

    Raises:
        BackboneError: unknown name or impossible image size.
    """
    check_image_size(name, image_size)
    spec = find_backbone(name)
    width = run_empty(name, PROVIDERS[spec.provider].build_trunk(spec, "meta"), image_size)
    if width != spec.width:
        raise BackboneError(f"{name} has {width} features, but is said to have {spec.width}")


def _build_to_fill(spec: BackboneSpec) -> nn.Module:
    """Build a trunk whose whole state is loaded next.

    On meta, so that no time is spent on weights that will be replaced; but on the CPU if it
    computes tensors when it is built that no file holds.
    """
    provider = PROVIDERS[spec.provider]
    trunk = provider.build_trunk(spec, "meta")
    return trunk if is_all_in_state(trunk) else provider.build_trunk(spec, "cpu")


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
