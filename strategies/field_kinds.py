"""What the value of a field of a reply may be: its type, size and range."""

import re
from dataclasses import dataclass

MAX_CLASSES = 32
MAX_TEXT = 200
MAX_EXAMPLES = 10**7

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Count:
    """A whole number in a range, both ends included."""

    most: int = MAX_EXAMPLES
    least: int = 0

    def admits(self, value: object) -> bool:
        return type(value) is int and self.least <= value <= self.most

    def __str__(self) -> str:
        if self.least == self.most:
            return str(self.most)
        return f"a whole number from {self.least} to {self.most}"


@dataclass(frozen=True)
class Real:
    """A floating-point number from 0 to a maximum, so neither NaN nor infinite."""

    most: float

    def admits(self, value: object) -> bool:
        return type(value) is float and 0 <= value <= self.most

    def __str__(self) -> str:
        return f"a number from 0 to {self.most:.3g}"


@dataclass(frozen=True)
class Counts:
    """A list of counts."""

    lengths: tuple[int, ...]  # allowed lengths of the list
    most: int  # maximum of each count
    many: str = "K"  # the length in words if several are allowed, K being the number of classes

    def admits(self, value: object) -> bool:
        each = Count(self.most)
        return (
            isinstance(value, list)
            and len(value) in self.lengths
            and all(each.admits(number) for number in value)
        )

    def __str__(self) -> str:
        many = f"{self.lengths[0]}" if len(self.lengths) == 1 else self.many
        return f"{many} whole numbers from 0 to {self.most}"


@dataclass(frozen=True)
class PackedCounts:
    """A list of counts, packed as by `strategies.histograms.pack`."""

    length: int  # maximum number of counts
    most: int  # maximum of each count

    def admits(self, value: object) -> bool:
        if not isinstance(value, list) or len(value) % 2:
            return False
        count = Count(self.most, least=1)
        if not all(type(number) is int for number in value):
            return False
        # Only the first count may be at distance 0, from the beginning.
        distances = all(n > 0 for n in value[2::2]) and all(n >= 0 for n in value[:1])
        counts = all(count.admits(n) for n in value[1::2])
        return distances and counts and sum(value[::2]) < self.length

    def __str__(self) -> str:
        return f"a packed list of at most {self.length} whole numbers from 0 to {self.most}"


@dataclass(frozen=True)
class Reals:
    """A list of floating-point numbers from 0 to a maximum."""

    length: int
    most: float

    def admits(self, value: object) -> bool:
        each = Real(self.most)
        return (
            isinstance(value, list)
            and len(value) == self.length
            and all(each.admits(number) for number in value)
        )

    def __str__(self) -> str:
        return f"{self.length} numbers from 0 to {self.most:.3g}"


@dataclass(frozen=True)
class Text:
    """A line of 1 to `MAX_TEXT` printable characters."""

    def admits(self, value: object) -> bool:
        return isinstance(value, str) and 0 < len(value) <= MAX_TEXT and value.isprintable()

    def __str__(self) -> str:
        return f"a line of at most {MAX_TEXT} printable characters"


@dataclass(frozen=True)
class Texts:
    """A list of 1 to `MAX_CLASSES` different lines."""

    def admits(self, value: object) -> bool:
        return (
            isinstance(value, list)
            and 0 < len(value) <= MAX_CLASSES
            and all(Text().admits(line) for line in value)
            and len(set(value)) == len(value)
        )

    def __str__(self) -> str:
        return f"1 to {MAX_CLASSES} different lines of at most {MAX_TEXT} printable characters"


@dataclass(frozen=True)
class Sha256:
    """A sha256 in hexadecimal digits."""

    def admits(self, value: object) -> bool:
        return isinstance(value, str) and _SHA256.fullmatch(value) is not None

    def __str__(self) -> str:
        return "a sha256 in 64 hexadecimal digits"


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def admits(self, value: object) -> bool:
        return isinstance(value, bool)

    def __str__(self) -> str:
        return "true or false"


Kind = Count | Real | Counts | PackedCounts | Reals | Text | Texts | Sha256 | Flag
