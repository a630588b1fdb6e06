"""NVFlare's FedAvg recipe in its simulator, every client a process, as in its hello-pt example."""

import sys
from pathlib import Path

import task
from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
from nvflare.recipe import SimEnv

if __name__ == "__main__":
    clients = task.JOB["clients"]
    recipe = FedAvgRecipe(
        name="peers",
        min_clients=clients,
        num_rounds=task.JOB["rounds"],
        model={"class_path": "task.Network", "args": {"initial": True}},
        train_script=str(Path(__file__).with_name("nvflare_client.py")),
    )
    environment = SimEnv(
        num_clients=clients, num_threads=clients, workspace_root=str(task.FOLDER / "workspace")
    )
    sys.exit(recipe.execute(environment).get_status())
