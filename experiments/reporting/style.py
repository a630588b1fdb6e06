"""The style of all figures: colours for any vision, lines that differ in grey, SYNTHETIC line;
and how they are drawn into files."""

import io
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from matplotlib.typing import FillStyleType

from training.data_description import SYNTHETIC

ALARM = "#A32A00"
GREY = "0.35"

_PAD = 0.08  # inches around a figure
# Of a title: size in points, letters per inch (usually 11 fit), and line height in inches.
_TITLE_SIZE, _TITLE_LETTERS, _TITLE_LINE = 10.5, 10.2, 0.18
_FEWEST_LETTERS = 20  # in a line of a note

# Okabe and Ito's palette: distinguishable with any colour vision. Its yellow is too pale for lines.
BLUE, ORANGE, GREEN, PINK = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
SKY, VERMILION, BLACK = "#56B4E9", "#D55E00", "#000000"

SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.parse_math": False,  # names of sources and classes are not TeX
    "svg.fonttype": "none",  # text stays text: it can be searched and read aloud
    "axes.edgecolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "axes.axisbelow": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.color": "0.88",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
}

DASHES = ("-", "--", ":", "-.")
"""Of lines that have no style of their own; where colours repeat, the next dashes are taken."""

TILTED: Any = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
"""For `Axes.set_xticks`, of labels that are too long side by side."""

# A family has a colour and a marker. A size has dashes, and a size and filling of the marker. So 12
# backbones differ, also in grey.
_FAMILIES = {
    "convnext": (BLUE, "o"),
    "maxvit": (BLACK, "D"),
    "swin_v2": (GREEN, "^"),
    "swin": (VERMILION, "s"),
    "vit": (PINK, "P"),
    "resnet": (ORANGE, "X"),
    "clip": (SKY, "v"),
}
_SIZES: dict[str, tuple[tuple[float, ...], float, FillStyleType]] = {
    "t": ((1.2, 1.4), 5.5, "none"),
    "s": ((5, 1.4, 1.2, 1.4), 6.5, "bottom"),
    "b": ((5, 2), 7.5, "left"),
    "l": ((), 8.5, "full"),
}


@dataclass(frozen=True)
class Line:
    """The style of a backbone."""

    colour: str  # of its family
    marker: str  # of its family
    dashes: tuple[float, ...]  # of its size, on and off in line widths; none for a solid line
    size: float  # of its marker in points, if it is drawn without a line
    fill: FillStyleType  # of its marker, if it is drawn without a line

    @property
    def zorder(self) -> float:
        """The drawing order: small markers above large ones, so that none is hidden."""
        return 3 - self.size / 100


def line_of(backbone: str) -> Line:
    """Return the style of a backbone, the same in every figure."""
    size = _SIZES.get(backbone.rpartition("_")[2], _SIZES["l"])
    for family, (colour, marker) in _FAMILIES.items():
        if backbone.startswith(family):
            return Line(colour, marker, *size)
    return Line(GREY, ".", *size)


def new_figure(title: str, width: float, height: float, *, synthetic: bool) -> Figure:
    """Return an empty figure with its title, and the SYNTHETIC line if needed.

    Args:
        title: broken into lines if it is long.
        width: in inches.
        height: in inches, with a title of one line; each further line adds to it.
        synthetic: whether any of its figures is on synthetic images.
    """
    lines = textwrap.wrap(title, int(width * _TITLE_LETTERS), break_on_hyphens=False)
    layout = ConstrainedLayoutEngine(w_pad=_PAD, h_pad=_PAD)
    size = (width, height + _TITLE_LINE * (len(lines) - 1))
    figure = Figure(figsize=size, layout=layout)
    figure.suptitle("\n".join(lines), x=_PAD / width, ha="left", size=_TITLE_SIZE, weight="bold")
    if synthetic:
        figure.supxlabel(SYNTHETIC, color=ALARM, fontsize=9, fontweight="bold")
    return figure


def look(number: int) -> dict[str, Any]:
    """Return colour and dashes of a line by its number, as `Axes.plot` takes them."""
    return {"color": f"C{number % 10}", "linestyle": DASHES[number // 10 % len(DASHES)]}


def by_round(axes: Axes, unit: str, label: str) -> None:
    """Style axes whose horizontal one counts rounds or epochs, named by ``unit``."""
    axes.set(xlabel=unit, ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.grid()


@dataclass(frozen=True)
class Drawing:
    """One figure as files.

    Attributes:
        name: the files', without suffix.
        about: what it shows: the title of a comparison or ranking, or the name again.
        what: description for people who cannot see it.
    """

    name: str
    about: str
    what: str
    svg: str
    png: bytes


def drawn(
    name: str, what: str, draw: Callable[..., Figure], *shown: object, about: str = ""
) -> Drawing:
    """Draw a figure of what ``draw`` is given; see `Drawing`."""
    with matplotlib.rc_context(SETTINGS):
        return Drawing(name, about or name, what, *render(draw(*shown), name))


def render(figure: Figure, name: str) -> tuple[str, bytes]:
    """Return a figure as SVG text and PNG bytes, the same for the same figure.

    Args:
        figure: drawn under ``SETTINGS``.
        name: the file's, without suffix; it makes ids unique if one page has several SVGs.
    """
    svg, png = io.StringIO(), io.BytesIO()
    # Laid out once for both files, which `Figure.savefig` would do twice for each.
    layout = figure.get_layout_engine()
    assert layout is not None
    layout.execute(figure)
    if _break_what_sticks_out(figure):
        layout.execute(figure)
    figure.set_layout_engine("none")
    with matplotlib.rc_context({"svg.hashsalt": name}):
        FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None, "Creator": None})
    figure.set_dpi(150)
    FigureCanvasAgg(figure).print_png(png, metadata={"Software": None})
    return svg.getvalue(), png.getvalue()


def _break_what_sticks_out(figure: Figure) -> bool:
    """Break every note that is too wide into lines; return whether there was any."""
    renderer, width = FigureCanvasAgg(figure).get_renderer(), figure.bbox.width
    axes = [axis for one in figure.axes for axis in (one.xaxis, one.yaxis)]
    ticks = {id(label) for axis in axes for label in axis.get_ticklabels(which="both")}
    changed = False
    for text in figure.findobj(Text):
        if id(text) in ticks or " " not in text.get_text():
            continue
        lines = text.get_text().splitlines()
        letters = max(map(len, lines))
        while letters > _FEWEST_LETTERS:
            bounds = text.get_window_extent(renderer)
            if bounds.x0 >= 0 and bounds.x1 <= width:
                break
            letters -= 4
            text.set_text(
                "\n".join(part for line in lines for part in textwrap.wrap(line, letters))
            )
            changed = True
    return changed
