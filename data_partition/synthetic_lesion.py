"""Drawings that look like dermatoscopic images of skin lesions. They have no medical value."""

from dataclasses import dataclass

import numpy as np

Colour = tuple[int, int, int]

PALE_SKIN: Colour = (238, 203, 188)
DARK_SKIN: Colour = (192, 143, 118)
HAIR: Colour = (52, 36, 30)


@dataclass(frozen=True)
class Marks:
    """A pattern drawn over a lesion where a noise field is high (for lines: near zero).

    ``frequency`` is in waves per image height, ``threshold`` in standard deviations of the noise
    (for lines: their half width), ``opacity`` in 0 … 1.
    """

    colour: Colour
    frequency: float
    threshold: float
    opacity: float
    lines: bool = False


@dataclass(frozen=True)
class Look:
    """The common properties of the lesions of one class.

    ``radius`` is a range in image heights, ``irregularity`` the relative depth of the border's
    dents, ``softness`` the relative width of the border, and ``patchiness``, in 0 … 1, the strength
    of the second colour in patches. The centre may have a separate colour.
    """

    colour: Colour
    second: Colour
    radius: tuple[float, float]
    irregularity: float
    softness: float
    patchiness: float
    marks: tuple[Marks, ...] = ()
    centre: Colour | None = None


LOOKS = {
    "akiec": Look(
        (208, 108, 96), (226, 152, 134), (0.26, 0.40), 0.16, 0.22, 0.6,
        (Marks((246, 232, 214), 9, 0.7, 0.75), Marks((178, 62, 58), 6, 0.12, 0.5, lines=True)),
    ),
    "bcc": Look(
        (226, 160, 166), (240, 200, 204), (0.22, 0.36), 0.10, 0.10, 0.8,
        (Marks((192, 46, 60), 2.2, 0.10, 0.8, lines=True), Marks((104, 110, 140), 4, 1.5, 0.8)),
    ),
    "bkl": Look(
        (200, 168, 104), (178, 138, 80), (0.24, 0.40), 0.07, 0.025, 0.6,
        (Marks((238, 218, 168), 8, 1.3, 0.8), Marks((96, 64, 40), 7, 1.5, 0.7)),
    ),
    "df": Look(
        (190, 124, 112), (170, 104, 92), (0.20, 0.30), 0.05, 0.25, 0.3, (), (248, 232, 226)
    ),
    "mel": Look(
        (66, 42, 38), (118, 72, 50), (0.28, 0.44), 0.30, 0.07, 0.9,
        (Marks((84, 92, 120), 2.5, 0.9, 0.85), Marks((22, 16, 18), 5, 0.9, 0.8)),
    ),
    "nv": Look(
        (142, 92, 64), (122, 76, 54), (0.18, 0.32), 0.05, 0.14, 0.5,
        (Marks((98, 60, 44), 10, 0.25, 0.35, lines=True),),
    ),
    "scc": Look(
        (214, 120, 110), (240, 214, 190), (0.28, 0.42), 0.20, 0.15, 0.7,
        (Marks((250, 244, 232), 3, 0.4, 0.85), Marks((150, 30, 40), 7, 1.2, 0.7)),
    ),
    "vasc": Look(
        (164, 34, 62), (120, 22, 74), (0.20, 0.34), 0.09, 0.06, 0.8,
        (Marks((84, 10, 52), 6, 0.6, 0.8),),
    ),
}  # fmt: skip


def draw_lesion(
    label: str,
    *,
    lesion: np.random.Generator,
    view: np.random.Generator,
    width: int = 200,
    height: int = 150,
) -> np.ndarray:
    """Draw one image of one lesion.

    Args:
        label: a class in `LOOKS`.
        lesion: generator for the lesion: shape, colours, skin. Equal states give the same lesion.
        view: generator for the photograph: zoom, rotation, light, hair, grain.
        width, height: in pixels; lengths scale with the height.

    Returns:
        uint8 (height, width, 3).

    Raises:
        KeyError: ``label`` is not in `LOOKS`.
    """
    look = LOOKS[label]
    # Pixel positions from the centre, in image heights; then rotated and zoomed.
    frame = np.stack(
        np.meshgrid(
            (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / height,
            (np.arange(height, dtype=np.float32) + 0.5 - height / 2) / height,
        )
    )
    turn, zoom = view.uniform(0, 2 * np.pi), view.uniform(0.85, 1.2)
    shift = view.uniform(-0.08, 0.08, size=2)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    place = np.tensordot(rotation / zoom, frame - shift[:, None, None], axes=1).astype(np.float32)

    image = _skin(place, lesion)
    image = _blend(image, _lesion_colours(look, place, lesion), _outline(look, place, lesion))
    image = _hair(image, frame, view)
    return _photograph(image, frame, view)


def _noise(place: np.ndarray, frequency: float, generator: np.random.Generator) -> np.ndarray:
    """Return a smooth random field (H, W) of unit variance over positions (2, H, W)."""
    num_waves = 10
    angles = generator.uniform(0, np.pi, num_waves)
    lengths = frequency * generator.uniform(0.6, 1.4, num_waves) * 2 * np.pi
    phases = generator.uniform(0, 2 * np.pi, num_waves).astype(np.float32)
    waves = (np.stack([np.cos(angles), np.sin(angles)], axis=1) * lengths[:, None]).astype("f4")
    field = np.cos(np.tensordot(waves, place, axes=1) + phases[:, None, None]).sum(axis=0)
    return field * np.float32(np.sqrt(2 / num_waves))


def _ramp(values: np.ndarray, width: float) -> np.ndarray:
    """Return 0 far below zero, 1 far above, and between them a slope of about ``width``."""
    return np.clip(values / np.float32(width) + np.float32(0.5), 0, 1)


def _blend(image: np.ndarray, colour: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Blend ``colour`` ((3,) or an image) into a float32 image (H, W, 3) at (H, W) opacities."""
    return image + (colour - image) * opacity[..., None]


def _colour(colour: Colour, shade: np.ndarray) -> np.ndarray:
    return np.asarray(colour, dtype=np.float32) * shade


def _skin(place: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    tone = generator.uniform(0, 1)
    colour = (1 - tone) * np.array(PALE_SKIN) + tone * np.array(DARK_SKIN)
    relief = 1 + 0.02 * _noise(place, 1.5, generator) + 0.015 * _noise(place, 14, generator)
    return (relief[..., None] * colour).astype(np.float32)


def _lesion_colours(look: Look, place: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    # Lesions of one class differ in darkness and redness.
    shade = (generator.uniform(0.88, 1.13) * generator.uniform(0.95, 1.05, 3)).astype(np.float32)
    patches = _ramp(_noise(place, 2.5, generator), 1.5) * np.float32(look.patchiness)
    image = np.broadcast_to(_colour(look.colour, shade), (*patches.shape, 3))
    image = _blend(image, _colour(look.second, shade), patches)
    for marks in look.marks:
        field = _noise(place, marks.frequency, generator)
        height = marks.threshold - np.abs(field) if marks.lines else field - marks.threshold
        strength = np.float32(marks.opacity * generator.uniform(0.5, 1))
        image = _blend(image, _colour(marks.colour, shade), _ramp(height, 0.3) * strength)
    if look.centre is not None:
        distance = np.hypot(*place)
        inside = _ramp(0.45 * np.float32(np.mean(look.radius)) - distance, 0.06)
        image = _blend(image, _colour(look.centre, shade), inside)
    return image


def _outline(look: Look, place: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return the lesion's opacity (H, W): an ellipse whose border is dented by a few harmonics."""
    radius = generator.uniform(*look.radius)
    flattening = generator.uniform(0.75, 1)
    x, y = place[0] * np.float32(flattening), place[1]
    angle = np.arctan2(y, x)
    border = np.ones_like(angle)
    for order in range(2, 8):
        depth = look.irregularity * generator.uniform(0.3, 1) / np.sqrt(order)
        phase = generator.uniform(0, 2 * np.pi)
        border += np.float32(depth) * np.cos(np.float32(order) * angle + np.float32(phase))
    return _ramp(border - np.hypot(x, y) / np.float32(radius), 2 * look.softness)


def _hair(image: np.ndarray, frame: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    for _ in range(generator.choice([0, 0, 0, 0, 2, 5])):
        angle, offset = generator.uniform(0, np.pi), generator.uniform(-0.6, 0.6)
        bend, thickness = generator.uniform(-0.4, 0.4), generator.uniform(0.004, 0.009)
        along = frame[0] * np.float32(np.cos(angle)) + frame[1] * np.float32(np.sin(angle))
        across = frame[1] * np.float32(np.cos(angle)) - frame[0] * np.float32(np.sin(angle))
        distance = np.abs(across - np.float32(offset) - np.float32(bend) * along**2)
        cover = _ramp(np.float32(thickness) - distance, 0.006) * np.float32(0.8)
        image = _blend(image, np.asarray(HAIR, dtype=np.float32), cover)
    return image


def _photograph(image: np.ndarray, frame: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Apply brightness, colour cast, uneven light towards the corners, and grain."""
    light = generator.uniform(0.82, 1.1) * generator.uniform(0.96, 1.04, 3)
    slope = generator.uniform(-0.12, 0.12, size=2)
    falloff = generator.uniform(0, 0.25)
    even = 1 + np.tensordot(slope, frame, axes=1) - falloff * (frame**2).sum(axis=0)
    image = image * (even[..., None] * light).astype(np.float32)
    grain = generator.standard_normal(image.shape[:2], dtype=np.float32) * np.float32(3)
    return np.clip(image + grain[..., None], 0, 255).astype(np.uint8)
