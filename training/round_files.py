"""State that a client keeps from round to round: one file per round."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from operation.files import replacing

KEPT = 3


class RoundFiles:
    """The newest three files of a folder, by round.

    Round r starts from the newest file of an earlier round: r − 1, or an older one if this
    client missed a round. Three rounds are kept: the server writes the checkpoint of round r
    while the clients train for round r + 1, so after a kill the clients may have the files of both
    rounds while the server has only the weights of r − 1. Round r is then repeated and again starts
    from the file of r − 1.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def newest(self, *, before: int) -> tuple[int, Path] | None:
        """Return the newest round before ``before`` with its file; None if there is none."""
        earlier = [number for number in self._rounds() if number < before]
        return (max(earlier), self._path(max(earlier))) if earlier else None

    def forget(self, *, after: int, before: int) -> None:
        """Delete the files of the rounds in between, both ends excluded.

        Args:
            after: the last round in which this client's reply counted: what came of the others
                is lost at the server, and so it is here.
            before: the round that begins; later ones are of a run that was killed.
        """
        for number in self._rounds():
            if after < number < before:
                self._path(number).unlink()

    @contextmanager
    def saving(self, round_number: int, *, keep: int = 0) -> Iterator[Path]:
        """Yield a path to write a round's file to; it becomes valid when the block ends.

        Afterwards all but the newest three files are deleted.

        Args:
            round_number: of the file.
            keep: a round up to which the newest file is kept, however old.
        """
        with replacing(self._path(round_number)) as temporary:
            yield temporary
        kept = self.newest(before=keep + 1)
        for old in sorted(self._rounds())[:-KEPT]:
            if kept is None or old != kept[0]:
                self._path(old).unlink()

    def _path(self, round_number: int) -> Path:
        return self.folder / f"round-{round_number:05d}.safetensors"

    def _rounds(self) -> list[int]:
        return [int(path.stem.removeprefix("round-")) for path in self.folder.glob("round-*")]


class OptimizerStates:
    """Optimizer states by round.

    They are stored as `RoundFiles`: a repeated round starts from the same state as the first time.

    Args:
        keep: ``persistent``, or ``fresh`` for a new optimizer in every round.
    """

    def __init__(self, folder: Path, *, keep: str) -> None:
        self._round_files = RoundFiles(folder)
        self.persistent = keep == "persistent"

    def load(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        before: int,
        counted: int | None = None,
    ) -> int:
        """Fill a new optimizer with the newest state of a round before ``before``.

        Args:
            counted: a client's last round whose reply counted; states after it are deleted.

        Returns:
            The round of that state; 0 if the optimizer stays fresh.
        """
        if counted is not None:
            self._round_files.forget(after=counted, before=before)
        newest = self._round_files.newest(before=before)
        if not self.persistent or newest is None:
            return 0
        number, path = newest
        parameters = dict(model.named_parameters())
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118, a safetensors file is not iterable
                parameter, _, key = name.rpartition("/")
                of, tensor = parameters[parameter], file.get_tensor(name)
                if key != "step":  # which torch holds on the CPU
                    tensor = tensor.to(of.device)
                    # In the memory format of its parameter. In another one, torch has a kernel for
                    # every tensor on CUDA instead of one for all.
                    if tensor.shape == of.shape:
                        tensor = torch.empty_like(of, dtype=tensor.dtype).copy_(tensor)
                optimizer.state[of][key] = tensor
        return number

    def save(self, model: nn.Module, optimizer: torch.optim.Optimizer, round_number: int) -> None:
        """Store the state after a round, and delete all but the newest three."""
        if not self.persistent:
            return
        tensors = {
            f"{name}/{key}": value.detach().contiguous().cpu()
            for name, parameter in model.named_parameters()
            for key, value in optimizer.state[parameter].items()
            if isinstance(value, torch.Tensor)
        }
        with self._round_files.saving(round_number) as temporary:
            save_file(tensors, temporary)
