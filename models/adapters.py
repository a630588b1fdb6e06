"""A small trained layer over the features of a trunk that stays as it is."""

from torch import Tensor, nn

# As in squeeze-and-excitation (Hu et al., Squeeze-and-Excitation Networks, 2018, section 6.1),
# whose gate has this form.
REDUCTION = 16


class GatedAdapter(nn.Module):
    """Weighs each feature by a gate that is made of all of them.

    Lu et al., FedCLIP: Fast Generalization and Personalization for CLIP in Federated Learning,
    2023, section 3.3: att(x) ⊙ x, att being two linear layers and a softmax over the features. Here
    the first layer is a bottleneck, so that little travels, and the softmax is scaled by the width,
    so that a gate that prefers nothing is 1: it starts so, as the identity.

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
