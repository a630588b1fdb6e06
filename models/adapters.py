"""A small trained layer on the features of a frozen trunk."""

from torch import Tensor, nn

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
