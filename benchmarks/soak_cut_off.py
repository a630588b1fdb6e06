"""``make soak``: cut a hospital off the network for two minutes, and record how each run ends.

It needs Debian's iproute2 and the permission to create network namespaces.
"""

from benchmarks import machine
from benchmarks.cut_off import EVENTS, joined, run_with_both, run_without_one
from benchmarks.disturbed_run import simulated
from benchmarks.network_link import NetworkLink
from benchmarks.soaking import soak_folders, write_soak
from experiments.console import Console

SECONDS = 120.0

console = Console()


def main() -> None:
    """Cut it off at each event, both in runs that need it and in runs that do not; stop if the
    weights differ.
    """
    circumstances = machine.describe()
    with (
        soak_folders() as (folder, data, serving),
        NetworkLink() as link,
        joined(serving, data, link) as hospitals,
    ):
        expected = simulated(hospitals, folder / "simulated", data, rounds=3)
        runs = []
        for event in EVENTS:
            out = folder / f"both-{event}"
            found = run_with_both(hospitals, link, out, event, seconds=SECONDS)
            same = found["weights_sha256"] == expected["weights_sha256"]
            out = folder / f"one-{event}"
            rounds = run_without_one(hospitals, link, out, event, seconds=SECONDS)
            took_part = [sorted(names) for names in rounds]
            runs.append({"event": event, "same_weights": same, "took_part": took_part})
            console.print(f"{runs[-1]}", highlight=False)
            if not same:
                raise RuntimeError(f"different weights after {event}")
    sha256 = expected["weights_sha256"]
    path = write_soak(
        "soak-cut-off", circumstances, seconds=SECONDS, weights_sha256=sha256, runs=runs
    )
    console.print(f"Written to {path}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
