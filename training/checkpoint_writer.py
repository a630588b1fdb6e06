"""Checkpoints written while the run continues."""

import time
from concurrent.futures import Future, ThreadPoolExecutor

from training.checkpoint import Progress
from training.moving_average import MovingAverage
from training.run_folder import RunFolder
from training.weights import Weights


class CheckpointWriter:
    """Writes checkpoints and ``rounds.jsonl`` in a thread, in order.

    Only one is written at a time: while round r runs, the checkpoint of round r − 1 may not be
    complete yet, but that of r − 2 is. Leaving the ``with`` block waits for the last one and raises
    its error, unless another error is being raised.

    Args:
        average: takes each round's weights before it is written with them; None if there is none.
    """

    def __init__(self, folder: RunFolder, average: MovingAverage | None = None) -> None:
        self.folder = folder
        self._average = average
        self._thread = ThreadPoolExecutor(1)
        self._under_way: Future[None] | None = None

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._thread.shutdown()
        if error is None:
            self._wait()

    def write(
        self, progress: Progress, weights: Weights, server_state: Weights | None = None
    ) -> None:
        """Wait for the previous checkpoint, then start to write this one.

        Args:
            progress: after a finished round. During writing its records may be replaced, but not
                changed. The last one's ``seconds`` gets ``checkpoint``, the time of writing: it is
                known only afterwards and is written with the next checkpoint.
            weights: of that round; they must not change during writing.
            server_state: the server's after that round, if any; it must not change either.

        Raises:
            OSError: the previous checkpoint could not be written.
        """
        self._wait()
        self._under_way = self._thread.submit(self._write, progress, weights, server_state)

    def _wait(self) -> None:
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def _write(self, progress: Progress, weights: Weights, server_state: Weights | None) -> None:
        started = time.perf_counter()
        average = None
        if self._average is not None:
            self._average.add(weights)
            average = self._average.weights
        self.folder.save_progress(progress, weights, server_state, average)
        progress.records[-1]["seconds"]["checkpoint"] = time.perf_counter() - started
