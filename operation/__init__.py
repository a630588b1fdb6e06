"""How the processes of a run are kept: started, watched, restarted, and ended together."""
