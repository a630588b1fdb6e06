"""The process that a site's apps are forked from."""

import json
import os
import subprocess
import sys
from pathlib import Path

from fl_client.site.serve_site import SUPEREXEC
from fl_client.site.superexec import LIBRARIES
from fl_server.bundle import PACKAGES

# What the app imports beyond what is there already, by its topmost package.
SURPLUS = """
import importlib, json, sys
for name in {libraries}:
    importlib.import_module(name)
before = set(sys.modules)
import fl_client.client_app, fl_client.client_setup, fl_client.local_training, fl_client.local_model
found = {{name.split(".")[0] for name in set(sys.modules) - before}}
print(json.dumps(sorted(found - set(sys.stdlib_module_names))))
"""


def packages_after(code: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_the_app_finds_its_libraries_imported_and_itself_not() -> None:
    """A package of the app's that were imported already would be taken for the bundle's."""
    assert packages_after(SURPLUS.format(libraries=LIBRARIES)) <= set(PACKAGES)


# Stands for Flower's function, and says what it finds imported.
PROBE = """
import json, pathlib, sys
def run(token, **others):
    found = json.dumps([sorted(sys.modules), others])
    pathlib.Path(token).write_text(found)
"""
LAUNCH = """
import sys
from flwr.supercore.constant import TaskType
from flwr.supercore.superexec.executor import ExecutionSpec
from fl_client.site import superexec
import probe
superexec.run_clientapp = probe.run
executor = superexec.ForkingExecutor()
said = dict(insecure=True, root_certificates_path=None, runtime_dependency_install=False)
executor.launch(
    ExecutionSpec(
        task_type=TaskType.CLIENT_APP,
        runtime_api_address="here:1",
        token=sys.argv[1],
        parent_pid=7,
        suppress_output=False,
        task_id=1,
        **said,
    )
)
for process in executor._context.active_children():
    process.join()
executor.reconcile()
assert not executor._context.active_children()
"""


def test_a_fork_has_the_libraries_and_nothing_of_this_package(tmp_path: Path) -> None:
    """Started as `fl_client.site.serve_site` starts it: with ``-m`` a fork imports its parent's."""
    assert SUPEREXEC.startswith("from fl_client.site.superexec import main")
    (tmp_path / "probe.py").write_text(PROBE)
    told = tmp_path / "told.json"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", LAUNCH, str(told)], check=True, env=environment)
    modules, others = json.loads(told.read_text())
    assert set(LIBRARIES) <= set(modules)
    assert not {name.split(".")[0] for name in modules} & set(PACKAGES)
    assert others == {
        "runtime_api_address": "here:1",
        "insecure": True,
        "parent_pid": 7,
        "runtime_dependency_install": False,
    }
