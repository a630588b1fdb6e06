"""The study's multimodal network: an image encoder whose outputs are compared with text features.

Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021, as
the study (docs/study.md) uses it: the text side is frozen, and each class is one text.
"""

import torch
from torch import Tensor
from torch.nn import functional

from models.backbones import Backbone


class ImageTextClassifier(Backbone):
    """A backbone whose head projects to the text features' width D.

    The text features and τ are fixed and are no part of the state dict: what is trained, stored
    and sent is the image encoder alone, under the names that it has as a classifier.

    Args:
        encoder: a `Backbone` with a head of D outputs; its parts are taken over.
        text: (K, D) float32, a row of unit length for each class.
        logit_scale: 1/τ > 0.

    Raises:
        ValueError: the encoder's outputs have another width than the text features.
    """

    text: Tensor

    def __init__(self, encoder: Backbone, text: Tensor, logit_scale: float) -> None:
        if encoder.head.out_features != text.shape[1]:
            raise ValueError(
                f"the image encoder answers in {encoder.head.out_features} numbers, the text "
                f"features have {text.shape[1]}"
            )
        super().__init__(encoder.trunk, encoder.head, encoder.adapter)
        self.register_buffer("text", text, persistent=False)
        self.logit_scale = logit_scale

    def embeddings(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, S, S) float32 → I (B, D) float32, rows of unit length."""
        return functional.normalize(self.head(self.features(images)).float(), dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, S, S) float32 → s_jc/τ (B, K) float32.

        s_jc is the cosine of I_j and T_c. The softmax of a row is p(Y = c | x_j).
        """
        embeddings = self.embeddings(images)
        # Autocast would multiply in bfloat16, of which τ = 1/100 leaves two digits.
        with torch.autocast(images.device.type, enabled=False):
            return self.logit_scale * (embeddings @ self.text.T)


def contrastive_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The batch-wise contrastive loss of images and the texts of their own labels.

    S_jk is the similarity of image j and the text of image k's label, P = softmax(S/τ) and
    Q = softmax(Sᵀ/τ) by rows. The loss is the study's −(1/B) Σ_j ½ (log p_jj + log q_jj), in
    which the same text under another image counts as a wrong answer. Spreading the target over
    the n images of a class, 1/n each, would be the same loss: they share one text, so p_jk = p_jj
    for every k of j's class, and q_jk = q_kk, so the sum over the class is the same.

    Args:
        logits: (B, K), s_jc/τ, from `ImageTextClassifier`.
        labels: (B,) int64, classes in [0, K).

    Returns:
        A scalar ≥ 0.
    """
    similarities = logits[:, labels]
    target = torch.arange(len(labels), device=labels.device)
    by_image = functional.cross_entropy(similarities, target)
    by_text = functional.cross_entropy(similarities.T, target)
    return (by_image + by_text) / 2
