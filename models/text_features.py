"""Text features: a text encoder's output for the classes' names, computed once for all clients.

They are a few kilobytes, stored in the cache folder, and can be copied as one file to machines
without a network. With them neither the text encoder's weights nor torch are needed.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from models.errors import WeightsError, first_line
from models.text_encoders import TextEncoderSpec, find_text_encoder, weights_file, weights_label
from operation.files import parse_json, write_bytes

PROMPT = "a picture of a {}"
"""That of the study (docs/study.md), filled with a class's full name."""

_LAYOUT = "fedskin text features 1"
_TOLERANCE = 1e-3  # of a row's length


@dataclass(frozen=True)
class TextFeatures:
    """The text features of K classes."""

    encoder: str
    prompts: tuple[str, ...]  # K texts, one for each class, in the order of the classes
    features: NDArray[np.float32]  # (K, D) float32, rows of unit length
    logit_scale: float  # 1/τ > 0, as trained with the encoder; OpenAI's: 100
    # Of the encoder: ``openai``, a tag of open_clip, ``sha256 …`` of a file, or for example
    # ``random, seed 0``.
    weights: str

    def save(self, path: Path) -> None:
        """Write one safetensors file, atomically.

        Raises:
            WeightsError: the file cannot be written.
        """
        header = {
            "layout": _LAYOUT,
            "encoder": self.encoder,
            "prompts": json.dumps(self.prompts),
            "logit_scale": repr(self.logit_scale),
            "weights": self.weights,
        }
        content = save({"features": np.ascontiguousarray(self.features)}, metadata=header)
        try:
            write_bytes(path, content)
        except OSError as error:
            raise WeightsError(f"{path} cannot be written ({error.strerror})") from error

    @staticmethod
    def load(path: Path) -> "TextFeatures":
        """Read and check a file of `save`.

        Raises:
            WeightsError: the file cannot be read or is not a valid file of text features.
        """
        try:
            with safe_open(path, framework="np") as file:
                header = file.metadata() or {}
                if header.get("layout") != _LAYOUT:
                    raise ValueError("its header does not describe them")
                found = TextFeatures(
                    encoder=header["encoder"],
                    prompts=tuple(parse_json(header["prompts"])),
                    features=file.get_tensor("features"),
                    logit_scale=float(header["logit_scale"]),
                    weights=header["weights"],
                )
            found._check()
        except OSError as error:
            raise WeightsError(f"{path} cannot be read ({first_line(error)})") from error
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise WeightsError(
                f"{path} is not a valid file of text features ({first_line(error)}); delete it, "
                "then copy or compute it again"
            ) from error
        return found

    def _check(self) -> None:
        """Raise ValueError unless all parts are consistent."""
        width = find_text_encoder(self.encoder).width
        if not self.prompts or not all(isinstance(prompt, str) for prompt in self.prompts):
            raise ValueError("its prompts are not texts")
        shape = (len(self.prompts), width)
        if self.features.shape != shape or self.features.dtype != np.float32:
            raise ValueError(
                f"features {self.features.shape} in {self.features.dtype}, but {self.encoder} "
                f"and its prompts give {shape} in float32"
            )
        lengths = np.linalg.norm(self.features, axis=1)
        # Written so that NaN also fails.
        if not np.all(np.abs(lengths - 1) <= _TOLERANCE):
            raise ValueError("a row is not of unit length")
        if not (np.isfinite(self.logit_scale) and self.logit_scale > 0):
            raise ValueError(f"logit scale {self.logit_scale}")


def prompts(class_names: Iterable[str]) -> tuple[str, ...]:
    """Return the prompt of each class, from its full name."""
    return tuple(PROMPT.format(name) for name in class_names)


def open_text_features(
    encoder: str,
    prompts: Sequence[str],
    *,
    pretrained: bool,
    weights_dir: Path | None,
    seed: int,
    cache_dir: Path,
) -> TextFeatures:
    """Return text features from the cache; compute and cache them if they are not there.

    Args:
        pretrained: whether the encoder has published weights, or random ones drawn from ``seed``.
        weights_dir: folder of weight files; None: the hub's cache, or a download.
        seed: of random weights; not used for published ones.
        cache_dir: the cache folder; the file is in ``text-features`` below it.

    Raises:
        BackboneError: unknown encoder.
        WeightsError: the cached file is damaged or holds other features; or nothing is cached and
            the encoder's weights are missing or unusable.
    """
    spec = find_text_encoder(encoder)
    if pretrained:
        weights = weights_label(spec) or _sha256(_locate(spec, weights_dir))
    else:
        weights = f"random, seed {seed}"
    path = cached_path(cache_dir, encoder, weights, prompts)
    if path.exists():
        found = TextFeatures.load(path)
        if (found.encoder, found.weights, found.prompts) != (encoder, weights, tuple(prompts)):
            raise WeightsError(
                f"{path} holds the text features of other classes, another encoder or other "
                "weights than its name says; delete it"
            )
        return found
    # Imported here: cached features need no torch.
    from models.text_tower import encode_pretrained, encode_random

    if pretrained:
        features, logit_scale = encode_pretrained(spec, prompts, _locate(spec, weights_dir))
    else:
        features, logit_scale = encode_random(spec, prompts, seed)
    computed = TextFeatures(encoder, tuple(prompts), features.numpy(), logit_scale, weights)
    store(computed, cache_dir)
    return computed


def store(features: TextFeatures, cache_dir: Path) -> Path:
    """Write text features to the cache, where `open_text_features` finds them; return the file.

    Raises:
        WeightsError: the file cannot be written.
    """
    path = cached_path(cache_dir, features.encoder, features.weights, features.prompts)
    features.save(path)
    return path


def cached_path(cache_dir: Path, encoder: str, weights: str, prompts: Sequence[str]) -> Path:
    """Return the path of text features in the cache; arguments as for `TextFeatures`."""
    key = json.dumps([encoder, weights, list(prompts)])
    digest = hashlib.sha256(key.encode()).hexdigest()
    return cache_dir / "text-features" / f"{digest}.safetensors"


def _locate(spec: TextEncoderSpec, weights_dir: Path | None) -> Path:
    try:
        return weights_file(spec).locate(weights_dir)
    except WeightsError as error:
        raise WeightsError(
            f"{error}, or copy only the text features: fedskin text-features export, import"
        ) from error


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return f"sha256 {hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror})") from error
