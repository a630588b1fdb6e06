"""Processes of a run (start, watch, restart, end), atomic file writes, untrusted text."""
