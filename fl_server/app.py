"""The Flower ServerApp: from a flat run config to a run folder.

The training code is imported only when a run starts, in parallel with Ray's own start.
"""

from logging import ERROR, INFO

from flwr.app import Context
from flwr.common import log
from flwr.serverapp import Grid, ServerApp

from operation.environment import let_threads_sleep

# Flower's simulation polls for replies ten times a second; one poll takes microseconds.
PULL_SECONDS = 0.02

# When started by  flwr run . , only this sets it before torch is loaded.
let_threads_sleep()

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the federation that the run config describes.

    Raises:
        RunFailed: with the cause in one line, which is also in the manifest.
    """
    from flwr.superlink.grid.http_grid import HttpGrid

    from fl_server.closing import closing_lines, superlink_left_running
    from fl_server.piecewise_grid import PiecewiseGrid
    from fl_server.run import RunFailed, run
    from operation.files import keep_private
    from training.run_folder import RunFolder

    keep_private()

    if isinstance(grid, HttpGrid):
        grid = PiecewiseGrid(grid)
    if hasattr(grid, "pull_interval"):  # only a simulation's grid has it
        grid.pull_interval = PULL_SECONDS
    try:
        folder = run(grid, context.run_config, run_id=context.run_id)
    except RunFailed as failure:
        log(ERROR, "fedskin: %s", failure)
        raise
    for line in closing_lines(RunFolder(folder)):
        log(INFO, "fedskin: %s", line)
    log(INFO, "fedskin: the results are in %s", folder)
    if superlink := superlink_left_running():
        log(INFO, "fedskin: Flower leaves its SuperLink running; stop it with:  kill %d", superlink)
