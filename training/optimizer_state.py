"""An optimizer's state between rounds, so that training goes on as if it had never stopped."""

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from data_partition.atomic_file import replacing

GENERATIONS = 3


class OptimizerStates:
    """Optimizer states by the round that they were saved after.

    Round r starts from the newest state of an earlier round: r − 1, or an older one where this
    client missed a round. Three rounds are kept: the server writes the checkpoint of round r
    while the clients train for round r + 1, so a kill may find them with the states of both and
    itself with the weights of r − 1. Round r is then asked for again, starts from the state of
    r − 1 as the first time, and never steps it twice.

    Args:
        folder: the client's own folder for them.
        keep: ``persistent``, or ``fresh`` for a new optimizer in every round.
    """

    def __init__(self, folder: Path, *, keep: str) -> None:
        self.folder = folder
        self.persistent = keep == "persistent"

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer, *, before: int) -> int:
        """Fill a new optimizer with the newest state of a round before ``before``.

        Returns:
            The round of that state; 0 where the optimizer stays fresh.
        """
        earlier = [number for number in self._rounds() if number < before]
        if not self.persistent or not earlier:
            return 0
        newest = max(earlier)
        parameters = dict(model.named_parameters())
        with safe_open(self._path(newest), framework="pt") as file:
            for name in file.keys():  # noqa: SIM118, a safetensors file is not iterable
                parameter, _, key = name.rpartition("/")
                tensor = file.get_tensor(name)
                if tensor.ndim > 0:  # the count of steps stays on the CPU, as torch keeps it
                    tensor = tensor.to(parameters[parameter].device)
                optimizer.state[parameters[parameter]][key] = tensor
        return newest

    def save(self, model: nn.Module, optimizer: torch.optim.Optimizer, round_number: int) -> None:
        """Store the state after a round, and forget all but the newest three."""
        if not self.persistent:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            f"{name}/{key}": value.detach().contiguous().cpu()
            for name, parameter in model.named_parameters()
            for key, value in optimizer.state[parameter].items()
            if isinstance(value, torch.Tensor)
        }
        with replacing(self._path(round_number)) as temporary:
            save_file(tensors, temporary)
        for old in sorted(self._rounds())[:-GENERATIONS]:
            self._path(old).unlink()

    def _path(self, round_number: int) -> Path:
        return self.folder / f"round-{round_number:05d}.safetensors"

    def _rounds(self) -> list[int]:
        return [int(path.stem.removeprefix("round-")) for path in self.folder.glob("round-*")]
