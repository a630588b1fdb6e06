"""``make soak``: cut a hospital off from the network for two minutes, and see how each run goes on.

It wants Debian's iproute2 and the right to make network namespaces.
"""

import tempfile
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from benchmarks import machine
from benchmarks.cable import Cable
from benchmarks.cut_off import EVENTS, joined, run_with_both, run_without_one
from benchmarks.disturbed_run import simulated
from benchmarks.report import RESULTS
from data_partition.synthetic import write_ham10000
from operation.files import write_json

SECONDS = 120.0

console = Console()


def main() -> None:
    """Cut it off at each event, where it is needed and where it is not; stop at other weights."""
    circumstances = machine.describe()
    with tempfile.TemporaryDirectory(prefix="fedskin-soak-") as name, Cable() as cable:
        folder = Path(name)
        data = folder / "ham10000"
        write_ham10000(data, images=60, seed=0)
        serving = folder / "federation"
        serving.mkdir()
        with joined(serving, data, cable) as hospitals:
            expected = simulated(hospitals, folder / "simulated", data, rounds=3)
            runs = []
            for event in EVENTS:
                out = folder / f"both-{event}"
                found = run_with_both(hospitals, cable, out, event, seconds=SECONDS)
                same = found["weights_sha256"] == expected["weights_sha256"]
                out = folder / f"one-{event}"
                rounds = run_without_one(hospitals, cable, out, event, seconds=SECONDS)
                took_part = [sorted(names) for names in rounds]
                runs.append({"event": event, "same_weights": same, "took_part": took_part})
                console.print(f"{runs[-1]}", highlight=False)
                if not same:
                    raise RuntimeError(f"other weights after {event}")
    content = {
        "date": datetime.now(UTC).date().isoformat(),
        **circumstances,
        "seconds": SECONDS,
        "weights_sha256": expected["weights_sha256"],
        "runs": runs,
    }
    path = RESULTS / "soak-cut-off.json"
    write_json(path, content)
    console.print(f"Written to {path}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
