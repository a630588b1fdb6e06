"""The process that a site's apps are forked from."""

import json
import subprocess
import sys

from fl_client.site.superexec import LIBRARIES
from fl_server.bundle import PACKAGES

# What the app imports beyond what is there already, by its topmost package.
SURPLUS = """
import importlib, json, sys
for name in {libraries}:
    importlib.import_module(name)
before = set(sys.modules)
import fl_client.app, fl_client.at_site, fl_client.local_training, fl_client.taking_home
found = {{name.split(".")[0] for name in set(sys.modules) - before}}
print(json.dumps(sorted(found - set(sys.stdlib_module_names))))
"""


def packages_after(code: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_the_app_finds_its_libraries_imported_and_itself_not() -> None:
    """A package of the app's that were imported already would be taken for the bundle's."""
    assert packages_after(SURPLUS.format(libraries=LIBRARIES)) <= set(PACKAGES)


def test_what_is_handed_to_a_fork_is_read_without_this_package() -> None:
    code = """
import json, pickle, sys
from flwr.supernode.runtime.run_clientapp import run_clientapp
pickle.loads(pickle.dumps(run_clientapp))
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""
    assert not packages_after(code) & set(PACKAGES)
