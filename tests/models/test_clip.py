"""The image-text network and its loss against the study's formulas and against open_clip's."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from open_clip.loss import ClipLoss
from torch import Tensor

from models.backbones import Backbone, build_backbone
from models.clip import ImageTextClassifier, contrastive_loss

WIDTH, NUM_CLASSES, SCALE = 16, 7, 100.0


def unit_rows(rows: int, width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(rows, width, generator=generator), dim=1)


def encoder() -> Backbone:
    return build_backbone("resnet18", WIDTH, pretrained=False, image_size=32, seed=0).eval()


def some_images(count: int = 5) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def softmax(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(rows - rows.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def reference_loss(similarities: NDArray[np.float64], scale: float) -> float:
    """−(1/B) Σ_j ½ (log p_jj + log q_jj), P = softmax(S/τ), Q = softmax(Sᵀ/τ), in float64."""
    p, q = softmax(similarities * scale), softmax(similarities.T * scale)
    return float(-np.mean((np.log(np.diag(p)) + np.log(np.diag(q))) / 2))


def test_probabilities_are_those_of_the_formula() -> None:
    """p(Y = c | x_j) = exp(s_jc/τ) / Σ exp(s_jc'/τ), s_jc = I_j·T_c / (|I_j| |T_c|)."""
    network, images, text = encoder(), some_images(), unit_rows(NUM_CLASSES, WIDTH, 2)
    with torch.inference_mode():
        answers = network(images).double().numpy()
        logits = ImageTextClassifier(network, text, SCALE)(images)
    directions = text.double().numpy()
    cosines = (answers @ directions.T) / np.outer(
        np.linalg.norm(answers, axis=1), np.linalg.norm(directions, axis=1)
    )
    expected = softmax(cosines * SCALE)
    # Float32 knows a cosine to about 1e-7, and 1/τ makes that 1e-5 of a logit.
    np.testing.assert_allclose(logits.softmax(dim=1).numpy(), expected, rtol=1e-4, atol=1e-7)


def test_only_the_image_encoder_is_in_the_state_dict() -> None:
    network = encoder()
    names = list(network.state_dict())
    model = ImageTextClassifier(network, unit_rows(NUM_CLASSES, WIDTH, 2), SCALE)
    assert list(model.state_dict()) == names
    assert [name for name, _ in model.named_parameters()] == [
        name for name, _ in network.named_parameters()
    ]


def test_text_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="answers in 16 numbers, the text features have 17"):
        ImageTextClassifier(encoder(), unit_rows(NUM_CLASSES, WIDTH + 1, 2), SCALE)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_contrastive_loss_is_the_studys_and_open_clips(scale: float) -> None:
    """With collisions: 16 images of 7 classes share texts, which stand as wrong answers."""
    images, text = unit_rows(16, WIDTH, 3), unit_rows(NUM_CLASSES, WIDTH, 4)
    labels = torch.randint(NUM_CLASSES, (16,), generator=torch.Generator().manual_seed(5))
    loss = contrastive_loss(scale * images @ text.T, labels)
    similarities = (images.double() @ text[labels].double().T).numpy()
    assert loss.item() == pytest.approx(reference_loss(similarities, scale), rel=1e-5)
    theirs = ClipLoss()(images, text[labels], torch.tensor(scale))
    assert loss.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_gradient_of_contrastive_loss_is_open_clips() -> None:
    text = unit_rows(NUM_CLASSES, WIDTH, 4)
    labels = torch.tensor([0, 3, 3, 6, 0, 1])
    gradients = []
    for use_theirs in (False, True):
        images = unit_rows(6, WIDTH, 3).requires_grad_()
        if use_theirs:
            loss = ClipLoss()(images, text[labels], torch.tensor(SCALE))
        else:
            loss = contrastive_loss(SCALE * images @ text.T, labels)
        loss.backward()
        gradients.append(images.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-4)


def spread_loss(similarities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """−(1/B) Σ_j ½ Σ_k t_jk (log p_jk + log q_jk), t_jk = 1/n_j for the n_j images of j's class."""
    same = (labels[:, None] == labels).astype(np.float64)
    target = same / same.sum(axis=1, keepdims=True)
    p, q = softmax(similarities), softmax(similarities.T)
    return float(-np.sum(target * (np.log(p) + np.log(q))) / 2 / len(labels))


def test_spreading_the_target_over_a_class_is_the_same_loss() -> None:
    """Why there is no such choice: 200 batches of 16 images, of 7 classes as frequent as nevi."""
    rng = np.random.default_rng(0)
    shares = np.array([0.03, 0.05, 0.11, 0.01, 0.11, 0.67, 0.02])
    for _ in range(200):
        logits, labels = 10 * rng.standard_normal((16, 7)), rng.choice(7, 16, p=shares)
        loss = contrastive_loss(torch.from_numpy(logits), torch.from_numpy(labels)).item()
        assert loss == pytest.approx(spread_loss(logits[:, labels], labels), rel=1e-13)


def test_half_of_the_loss_is_cross_entropy_that_counts_the_batchs_classes() -> None:
    """P alone: p_jj = exp(s_jy) / Σ_c n_c exp(s_jc), with n_c images of class c in the batch."""
    rng = np.random.default_rng(1)
    logits, labels = rng.standard_normal((12, 7)), rng.integers(0, 5, 12)  # two classes are absent
    p = np.diag(softmax(logits[:, labels]))
    counts = np.bincount(labels, minlength=7)
    powers = np.exp(logits)
    expected = powers[np.arange(12), labels] / (powers * counts).sum(axis=1)
    np.testing.assert_allclose(p, expected, rtol=1e-12)


def test_a_batch_of_one_class_teaches_nothing_where_its_images_are_alike() -> None:
    """B equal texts: every p_jk is 1/B whatever the images, so the loss is log B at its least."""
    text = unit_rows(1, WIDTH, 9)
    images = text.expand(4, WIDTH).clone().requires_grad_()
    loss = contrastive_loss(SCALE * images @ text.T, torch.zeros(4, dtype=torch.int64))
    assert loss.item() == pytest.approx(np.log(4), rel=1e-6)
    loss.backward()
    assert images.grad is not None
    assert images.grad.abs().max() < 1e-4
