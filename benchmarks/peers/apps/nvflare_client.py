"""The script of an NVFlare client, as in its hello-pt example."""

import client_work
import nvflare.client as flare
import torch


def main() -> None:
    """Evaluate and train every model that comes."""
    torch.set_num_threads(1)  # three clients at a time
    network = client_work.Network()
    flare.init()
    client = int(flare.system_info()["site_name"].removeprefix("site-")) - 1
    while flare.is_running():
        received = flare.receive()
        network.load_state_dict(received.params)
        accuracy = client_work.evaluate(network, client)
        client_work.train(network, client, received.current_round + 1)
        params = {name: value.detach().clone() for name, value in network.state_dict().items()}
        steps = {"NUM_STEPS_CURRENT_ROUND": client_work.JOB["batches"]}
        flare.send(flare.FLModel(params=params, metrics={"accuracy": accuracy}, meta=steps))


if __name__ == "__main__":
    main()
