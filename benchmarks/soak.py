"""``make soak``: kill a small campaign at twenty random moments, and record how each one ended."""

import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import machine
from benchmarks.campaign_kills import comparable, disturb, prepare, undisturbed
from benchmarks.result_files import RESULTS
from experiments.console import Console
from operation.files import write_json

MOMENTS = 20

console = Console()


def main() -> None:
    """Kill and resume repeatedly; the first ledger that differs ends it with an error."""
    circumstances = machine.describe()
    with tempfile.TemporaryDirectory(prefix="fedskin-soak-") as name:
        folder = Path(name)
        prepare(folder)
        seconds, expected = undisturbed(folder)
        console.print(f"undisturbed: {seconds:.0f} s")
        kills = []
        for seed in range(MOMENTS):
            out = folder / f"killed-{seed}"
            kill = disturb(folder, out, seed=seed, seconds=seconds)
            same = comparable(out).equals(expected)
            kills.append({"seed": seed, **asdict(kill), "same_ledger": same})
            console.print(f"{seed + 1} of {MOMENTS}: {kills[-1]}", highlight=False)
            if not same:
                raise RuntimeError(f"different ledger after {kills[-1]}")
    content = {
        "date": datetime.now(UTC).date().isoformat(),
        **circumstances,
        "campaign_seconds": round(seconds, 1),
        "weights_sha256": sorted(set(expected["weights_sha256"])),
        "kills": kills,
    }
    write_json(RESULTS / "soak-campaign.json", content)
    console.print(f"Written to {RESULTS / 'soak-campaign.json'}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
