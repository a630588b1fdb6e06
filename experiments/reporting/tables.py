"""A table of a report, as Markdown, CSV and LaTeX, and what its cells are written with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from experiments.figures_table import NONE
from training.data_description import SYNTHETIC

_LATEX = str.maketrans(
    {
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "−": "$-$",
        "–": "--",
        "·": r"$\cdot$",
    }
)
Rows = pd.DataFrame | Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name: of its files, without suffix.
        synthetic: whether it must be marked SYNTHETIC.
        numbers: the content of the CSV file.
        cells: the same, formatted as text.
        best: whether each cell is bold; of the same shape.
        notes: sentences that explain it.
    """

    name: str
    title: str
    synthetic: bool
    numbers: pd.DataFrame
    cells: pd.DataFrame
    best: pd.DataFrame
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        name: str,
        title: str,
        synthetic: bool,
        numbers: Rows,
        cells: Rows,
        best: Mapping[str, Any] | None = None,
        notes: Sequence[str] = (),
    ) -> "Table":
        """Make a table of frames, or of rows by column; only in the columns of ``best`` something
        is bold."""
        cells = pd.DataFrame(cells)
        bold = pd.DataFrame(best or {}, index=cells.index)
        bold = bold.reindex(columns=cells.columns, fill_value=False).astype(bool)
        return cls(name, title, synthetic, pd.DataFrame(numbers), cells, bold, tuple(notes))

    def csv(self) -> str:
        """Return the numbers with all digits, and for each row whether it is synthetic."""
        return self.numbers.assign(synthetic=self.synthetic).to_csv(index=False)

    def markdown(self) -> str:
        """Return a heading and a table; the best are bold."""
        cells = self._marked(lambda text: text.replace("_", r"\_"), "**{}**")
        lines = [f"## {self.title}", "", *([f"**{SYNTHETIC}.**", ""] if self.synthetic else [])]
        table = cells.to_markdown(index=False, disable_numparse=True)
        notes = [line for note in self.notes for line in ("", note.replace("_", r"\_"))]
        return "\n".join([*lines, table, *notes, ""])

    def latex(self) -> str:
        """Return a floating table for the package booktabs; the best are bold."""
        synthetic = (f"{SYNTHETIC}.",) if self.synthetic else ()
        caption = " ".join((f"{self.title}.", *synthetic, *self.notes))
        escaped = self._marked(lambda text: text.translate(_LATEX), r"\textbf{{{}}}")
        return escaped.style.hide(axis="index").to_latex(
            hrules=True,
            caption=caption.translate(_LATEX),
            label=f"tab:{self.name}",
            position_float="centering",
            column_format="l" * len(escaped.columns),
        )

    def _marked(self, escape: Callable[[str], str], bold: str) -> pd.DataFrame:
        texts = self.cells.map(escape)
        marked = texts.where(~self.best, texts.map(bold.format))
        return marked.rename(columns=escape)


def is_best(
    values: pd.Series, digits: int, *, lowest: bool = False, within: pd.Series | None = None
) -> pd.Series:
    """Return which values are the best as they are written; of a group of one none is.

    Args:
        digits: after the point.
        lowest: whether the lowest is the best.
        within: names the group in which each value is compared; None: all together.
    """
    groups = values.groupby(pd.Series(0, index=values.index) if within is None else within)
    first = groups.transform("min" if lowest else "max")
    written, best = (each.map(lambda value: rounded(value, digits)) for each in (values, first))
    return (written == best) & values.notna() & (groups.transform("size") > 1)


def rounded(value: float, digits: int) -> str:
    """Return a figure as text; a dash for NaN."""
    return NONE if pd.isna(value) else f"{value:.{digits}f}"


def signed(value: float, digits: int = 2) -> str:
    """Return a difference with its sign, none for what rounds to 0; a dash for NaN."""
    if pd.isna(value):
        return NONE
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text if text.strip("+−0.") else text[1:]


def signed_range(low: float, high: float, digits: int = 2) -> str:
    """Return the interval of a difference."""
    return f"{signed(low, digits)} to {signed(high, digits)}"


def p_text(p_value: float) -> str:
    """Return a p-value with two digits that count; a dash for NaN."""
    if pd.isna(p_value):
        return NONE
    return "< 0.0001" if p_value < 1e-4 else f"{p_value:.2g}"
