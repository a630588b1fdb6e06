"""The record of what a run was computed with."""

import json
import sys

from training.run_environment import environment


def test_the_environment_says_what_a_run_ran_on() -> None:
    found = environment()
    assert found["versions"]["torch"]
    assert found["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["machine"]["cpus"] >= 1
    # The whole commit in a checkout, marked where files were changed; None without git.
    commit = found["git_commit"]
    assert commit is None or len(commit.removesuffix("-dirty")) == 40
    json.dumps(found, allow_nan=False)
