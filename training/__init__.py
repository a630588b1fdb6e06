"""One experiment: its config, optimizers, epoch, metrics and run folder."""
