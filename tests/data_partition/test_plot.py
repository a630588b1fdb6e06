from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from data_partition.plot import plot_counts

COUNTS = pd.DataFrame(
    {"nv": [60, 20, 20, 6, 2, 2], "df": [3, 1, 0, 0, 0, 0]},
    index=pd.MultiIndex.from_product(
        [["client-0", "client-1"], ["train", "validation", "test"]], names=["client", "split"]
    ),
)


def test_plot_is_a_png_with_a_bar_of_each_class(tmp_path: Path) -> None:
    path = tmp_path / "new" / "plan.png"
    plot_counts(COUNTS, path)
    with Image.open(path) as image:
        assert image.format == "PNG"
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 24) or []}
    # The palette's first two: nv, the largest class, and df.
    assert {(0x00, 0x72, 0xB2), (0xE6, 0x9F, 0x00)} <= colours
    assert list(path.parent.iterdir()) == [path]


def test_every_class_is_drawn_and_looks_different(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table of one's own may have more classes than the palette has colours."""
    drawn: list[Figure] = []

    def figure(**options: Any) -> Figure:
        drawn.append(Figure(**options))
        return drawn[0]

    monkeypatch.setattr("data_partition.plot.Figure", figure)
    many = pd.DataFrame({f"class-{i}": [20 - i] * 6 for i in range(12)}, index=COUNTS.index)
    plot_counts(many, tmp_path / "plan.png")
    bars, names = drawn[0].axes[0].get_legend_handles_labels()
    assert len(names) == 12
    looks = {(bar[0].get_facecolor(), bar[0].get_hatch()) for bar in bars}
    assert len(looks) == 12


def test_a_title_stands_above_in_red(tmp_path: Path) -> None:
    def red(**title: str) -> bool:
        plot_counts(COUNTS, tmp_path / "plan.png", **title)
        with Image.open(tmp_path / "plan.png") as image:
            colours = image.convert("RGB").crop((0, 0, image.width, 60)).getcolors(1 << 24) or []
        return any(red > 150 and green < 40 and blue < 40 for _, (red, green, blue) in colours)

    assert red(title="SYNTHETIC")
    assert not red()


def test_a_failed_plot_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "plan.png"
    path.write_bytes(b"old")
    with pytest.raises(KeyError):
        plot_counts(COUNTS.droplevel("split"), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
