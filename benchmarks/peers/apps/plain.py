"""Federated averaging as a plain loop over the clients, in one process, with all cores."""

import task

network = task.Network(initial=True)
weights = {name: value.clone() for name, value in network.state_dict().items()}
for number in range(1, task.JOB["rounds"] + 1):
    mean = {name: value.new_zeros(value.shape) for name, value in weights.items()}
    for client in range(task.JOB["clients"]):
        network.load_state_dict(weights)
        if number > 1:
            task.evaluate(network, client)
        task.train(network, client, number)
        for name, value in network.state_dict().items():
            mean[name] += value / task.JOB["clients"]
    weights = mean
