"""Checkpoints written while the run goes on."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from training.checkpoint import Progress
from training.run_folder import RunFolder
from training.weights import Weights


class CheckpointWriter:
    """Writes checkpoints in a thread, each followed by ``rounds.jsonl``, in the order given.

    At most one is under way: while round r runs, the checkpoint of round r − 1 may still be
    missing, that of r − 2 stands. Leaving the ``with`` block waits for the last one and, unless
    another error is on its way, raises the one that stopped it.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._thread = ThreadPoolExecutor(1)
        self._under_way: Future[None] | None = None

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown()
        if error is None:
            self._wait()

    def write(self, progress: Progress, weights: Weights) -> None:
        """Wait for the checkpoint before this one, then begin to write this one.

        Args:
            progress: after a finished round. Its records may be replaced but not changed
                meanwhile. The last one's ``seconds`` gets ``checkpoint``, how long writing took:
                known only afterwards, it reaches the files with the next checkpoint.
            weights: of that round; nobody may write to them meanwhile.

        Raises:
            OSError: the checkpoint before this one could not be written.
        """
        self._wait()
        self._under_way = self._thread.submit(self._write, progress, weights)

    def _wait(self) -> None:
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def _write(self, progress: Progress, weights: Weights) -> None:
        started = time.perf_counter()
        self.folder.checkpoint.save(progress, weights)
        self.folder.write_rounds(progress.records)
        progress.records[-1]["seconds"]["checkpoint"] = time.perf_counter() - started
