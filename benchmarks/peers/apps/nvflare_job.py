"""NVFlare's FedAvg recipe in its simulator, every client a process, as in its hello-pt example."""

import sys
from pathlib import Path

import client_work
from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
from nvflare.recipe import SimEnv

if __name__ == "__main__":
    clients = client_work.JOB["clients"]
    recipe = FedAvgRecipe(
        name="peers",
        min_clients=clients,
        num_rounds=client_work.JOB["rounds"],
        model={"class_path": "client_work.Network", "args": {"initial": True}},
        train_script=str(Path(__file__).with_name("nvflare_client.py")),
    )
    environment = SimEnv(
        num_clients=clients,
        num_threads=clients,
        workspace_root=str(client_work.FOLDER / "workspace"),
    )
    sys.exit(recipe.execute(environment).get_status())
