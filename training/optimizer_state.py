"""An optimizer's state between rounds, so that training continues as if it had not stopped."""

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from training.round_files import RoundFiles


class OptimizerStates:
    """Optimizer states by round.

    They are stored as `RoundFiles`: a repeated round starts from the same state as the first time.

    Args:
        folder: the client's own folder for them.
        keep: ``persistent``, or ``fresh`` for a new optimizer in every round.
    """

    def __init__(self, folder: Path, *, keep: str) -> None:
        self._round_files = RoundFiles(folder)
        self.persistent = keep == "persistent"

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer, *, before: int) -> int:
        """Fill a new optimizer with the newest state of a round before ``before``.

        Returns:
            The round of that state; 0 if the optimizer stays fresh.
        """
        newest = self._round_files.newest(before=before)
        if not self.persistent or newest is None:
            return 0
        number, path = newest
        parameters = dict(model.named_parameters())
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118, a safetensors file is not iterable
                parameter, _, key = name.rpartition("/")
                tensor = file.get_tensor(name)
                if tensor.ndim > 0:  # torch holds the step count on the CPU
                    tensor = tensor.to(parameters[parameter].device)
                optimizer.state[parameters[parameter]][key] = tensor
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
