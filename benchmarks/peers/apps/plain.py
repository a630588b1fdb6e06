"""Federated averaging as a plain loop over the clients, in one process, with all cores."""

import client_work

network = client_work.Network(initial=True)
weights = {name: value.clone() for name, value in network.state_dict().items()}
for number in range(1, client_work.JOB["rounds"] + 1):
    mean = {name: value.new_zeros(value.shape) for name, value in weights.items()}
    for client in range(client_work.JOB["clients"]):
        network.load_state_dict(weights)
        if number > 1:
            client_work.evaluate(network, client)
        client_work.train(network, client, number)
        for name, value in network.state_dict().items():
            mean[name] += value / client_work.JOB["clients"]
    weights = mean
