"""The client's half of the run's method, in one round of training."""

from collections.abc import Callable, Mapping

from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from fl_client.client import Client
from strategies.method import LocalTraining
from strategies.methods import METHODS
from training.network import as_tensors
from training.round_files import RoundFiles


class MethodHalf:
    """What the method does at a client in one round, and the state that it keeps there.

    The state is stored by round in the client's folder ``method``; see `RoundFiles`.

    Args:
        client: the client that trains.
        trained: the trained parameters by name, with the received weights.
        received: the global weights, read only; kept only if the method asks for them.
        before: the round that begins.

    Attributes:
        before_step: to be called before every step of the optimizer; None under plain training.
    """

    def __init__(
        self,
        client: Client,
        trained: Mapping[str, Tensor],
        received: Mapping[str, NDArray],
        *,
        before: int,
    ) -> None:
        self.before_step: Callable[[], None] | None = None
        self._round_files = RoundFiles(client.folder / "method")
        self._training: LocalTraining | None = None
        begin = METHODS[client.config.strategy].client_half
        if begin is None:
            return

        def of_trained() -> list[Tensor]:
            tensors = as_tensors(received)
            return [tensors[name].to(client.device) for name in trained]

        newest = self._round_files.newest(before=before)
        state = load_file(newest[1], device=str(client.device)) if newest else {}
        self._training = LocalTraining(client.config.to_flat(), trained, of_trained, state)
        self._half = begin(self._training)
        # Otherwise the function would keep the received weights.
        self._training.received = _too_late
        if self._half is not None:
            self.before_step = self._half.before_step

    def finish(self, round_number: int) -> None:
        """Let the method finish the round after training, and write its state."""
        if self._training is None:
            return
        if self._half is not None:
            self._half.after_training()
        if self._training.state:
            tensors = {n: t.detach().contiguous().cpu() for n, t in self._training.state.items()}
            with self._round_files.saving(round_number) as temporary:
                save_file(tensors, temporary)


def _too_late() -> list[Tensor]:
    raise AssertionError("the received weights are only there before training")
