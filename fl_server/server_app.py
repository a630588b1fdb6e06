"""The Flower ServerApp: from a flat run config to a run folder.

The training code is imported only when a run starts, in parallel with Ray's own start.
"""

from logging import ERROR, INFO

from flwr.app import Context
from flwr.common import log
from flwr.serverapp import Grid, ServerApp

from operation.environment import let_threads_sleep

# When started by  flwr run . , only this sets it before torch is loaded.
let_threads_sleep()

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the federation that the run config describes.

    Raises:
        RunFailed: with the cause in one line, which is also in the manifest.
    """
    from fl_server.federated_config import messages_under_way
    from fl_server.federated_run import RunFailed, run_federation
    from fl_server.final_log import final_log_lines, superlink_left_running
    from fl_server.simulated_grid import SimulatedGrid
    from fl_server.streaming_grid import StreamingGrid
    from operation.files import keep_private
    from operation.flower_internals import HttpGrid, InMemoryGrid
    from training.run_folder import RunFolder

    keep_private()

    if isinstance(grid, HttpGrid):
        grid = StreamingGrid(grid)
    elif isinstance(grid, InMemoryGrid):
        import ray

        # Those of a whole cluster; before Ray is connected, this machine's.
        cores = ray.cluster_resources().get("CPU") if ray.is_initialized() else None
        grid = SimulatedGrid(grid, messages_under_way(int(cores) if cores else None))
    try:
        folder = run_federation(grid, context.run_config, run_id=context.run_id)
    except RunFailed as failure:
        log(ERROR, "fedskin: %s", failure)
        raise
    for line in final_log_lines(RunFolder(folder)):
        log(INFO, "fedskin: %s", line)
    log(INFO, "fedskin: the results are in %s", folder)
    if superlink := superlink_left_running():
        log(INFO, "fedskin: Flower leaves its SuperLink running; stop it with:  kill %d", superlink)
