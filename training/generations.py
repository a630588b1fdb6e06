"""What a client keeps from round to round: a file for each round that it was saved after."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from operation.files import replacing

KEPT = 3


class Generations:
    """The newest three files of a folder, by round.

    Round r starts from the newest file of an earlier round: r − 1, or an older one where this
    client missed a round. Three rounds are kept: the server writes the checkpoint of round r
    while the clients train for round r + 1, so a kill may find them with the files of both and
    itself with the weights of r − 1. Round r is then asked for again and starts from the file of
    r − 1 as the first time.

    Args:
        folder: the client's own folder for them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def newest(self, *, before: int) -> tuple[int, Path] | None:
        """Return the newest round before ``before`` with its file; None where there is none."""
        earlier = [number for number in self._rounds() if number < before]
        return (max(earlier), self._path(max(earlier))) if earlier else None

    @contextmanager
    def saving(self, round_number: int) -> Iterator[Path]:
        """Give a path to write a round's file to; it counts once all is written.

        Afterwards all but the newest three are forgotten.
        """
        with replacing(self._path(round_number)) as temporary:
            yield temporary
        for old in sorted(self._rounds())[:-KEPT]:
            self._path(old).unlink()

    def _path(self, round_number: int) -> Path:
        return self.folder / f"round-{round_number:05d}.safetensors"

    def _rounds(self) -> list[int]:
        return [int(path.stem.removeprefix("round-")) for path in self.folder.glob("round-*")]
