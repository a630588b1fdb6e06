"""Runs in MLflow or TensorBoard: while they go on, and the finished trials of a campaign."""
