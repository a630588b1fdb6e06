"""An approved bundle that cheats, between real processes of Flower."""

import hashlib
import json
import os
import subprocess
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tomli_w
from flwr.cli.build import build_fab_from_disk

from fl_client.site.records import last_records
from operation.environment import flower_environment, free_port, script
from operation.processes import own_processes
from tests.fl_client.site.certificates import Authority
from tests.fl_client.site.sites import approve, make_bundle, make_site

# What each question to the site is answered with, and what comes of it: None where it is let out.
CHEATS = {
    "honest": None,
    "an array more": "its arrays differ",
    "another shape": "its arrays differ",
    "another metric": "its metrics have a key",
    "another record": "its records are not those declared",
    "a long string": "its records are not those declared",
    "images in the error": "7" * 299,
    "ends without an answer": "ended without an answer",
    "honest again": None,
}

CLIENT = """
import os
import signal

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message, context):
    cheat = str(message.content["config"]["cheat"])
    received = message.content["arrays"]["float32"].numpy()
    arrays = ArrayRecord({"float32": Array(received + 1)})
    metrics = MetricRecord(
        {"num-examples": 20, "train-loss": 0.5, "optimizer-round": 0, "seconds-message": 1.0}
    )
    content = RecordDict({"arrays": arrays, "metrics": metrics})
    secret = np.full((4, 4), 7, np.float32)
    if cheat == "an array more":
        arrays["images"] = Array(secret)
    elif cheat == "another shape":
        arrays["float32"] = Array(secret)
    elif cheat == "another metric":
        metrics["patient-4711"] = 1
    elif cheat == "another record":
        content["images"] = ArrayRecord({"images": Array(secret)})
    elif cheat == "a long string":
        content["notes"] = ConfigRecord({"text": "born 1950" * 10000})
    elif cheat == "images in the error":
        raise ValueError("first line\\n" + "7" * 100000)
    elif cheat == "ends without an answer":
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    return Message(content, reply_to=message)
"""

SERVER = """
import json
import os
import time
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()


@app.main()
def main(grid, context):
    while not (nodes := list(grid.get_node_ids())):
        time.sleep(0.2)
    weights = ArrayRecord({"float32": Array(np.zeros(6, np.float32))})
    layout = ConfigRecord({"names": ["weight"], "dtypes": ["float32"], "shapes": ["2x3"]})
    messages = {}
    for cheat in json.loads(os.environ["CHEATS"]):
        config = {"experiment": "rounds = 3", "run": "0" * 32, "round": 1, "cheat": cheat}
        records = {"config": ConfigRecord(config), "layout": layout, "arrays": weights}
        content = RecordDict(records)
        messages[cheat] = Message(content, nodes[0], "train")
    replies = {
        reply.metadata.reply_to_message_id: reply
        for reply in grid.send_and_receive(messages.values(), timeout=480)
    }
    found = {}
    for cheat, message in messages.items():
        reply = replies[message.metadata.message_id]
        if reply.has_error():
            found[cheat] = {"code": reply.error.code, "reason": reply.error.reason}
        else:
            found[cheat] = {"float32": reply.content["arrays"]["float32"].numpy().tolist()}
    out = Path(os.environ["CHEATS_OUT"])
    out.with_suffix(".tmp").write_text(json.dumps(found))
    out.with_suffix(".tmp").rename(out)
"""


@contextmanager
def coordinator(folder: Path, port: int, authority: Authority, out: Path) -> Iterator[dict]:
    """Flower's own SuperLink and superexec, with node authentication; gives their environment."""
    certificate, key = authority.issue()
    secret = folder / "secret"
    secret.write_text("0123456789abcdef" * 4)
    token = uuid.uuid4().hex
    with own_processes(token) as home:
        environment = {
            **flower_environment(home, token),
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
            "CHEATS": json.dumps(list(CHEATS)),
            "CHEATS_OUT": str(out),
            "OMP_NUM_THREADS": "1",
        }
        connection = {
            "address": f"127.0.0.1:{port}",
            "root-certificates": str(authority.certificate),
        }
        settings = tomli_w.dumps({"superlink": {"hospitals": connection}})
        (home / "config.toml").write_text(settings)
        process = ("--superexec-auth-secret-file", str(secret))
        with (folder / "superlink.log").open("wb") as log:
            for command in (
                [
                    script("flower-superlink"),
                    *("--ssl-ca-certfile", str(authority.certificate)),
                    *("--ssl-certfile", str(certificate), "--ssl-keyfile", str(key)),
                    *("--enable-supernode-auth", "--isolation", "process", *process),
                    *("--host", "127.0.0.1", "--port", str(port)),
                    "--disable-runtime-dependency-installation",
                ],
                [
                    script("flower-superexec"),
                    *("--root-certificates", str(authority.certificate)),
                    *("--runtime-api-address", f"127.0.0.1:{port}", *process),
                ],
            ):
                subprocess.Popen(command, env=environment, cwd=home, stdout=log, stderr=log)
                wait_for(lambda: b"startup complete" in (folder / "superlink.log").read_bytes())
        yield environment


def wait_for(true: Callable[[], object], seconds: float = 500.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def flwr(environment: dict, *arguments: object) -> str:
    result = subprocess.run(
        [script("flwr"), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.slow
def test_each_cheat_is_refused_at_the_site_which_goes_on_serving(tmp_path: Path) -> None:
    port, authority, out = free_port(), Authority(tmp_path / "ca"), tmp_path / "found.json"
    site = make_site(tmp_path, address=f"127.0.0.1:{port}", ca=authority.certificate.read_bytes())
    sources = {"tiny/client.py": CLIENT, "tiny/server.py": SERVER}
    bundle = make_bundle(tmp_path / "tiny.fab", sources, config={"rounds": 3})
    approve(site, bundle)
    app = tmp_path / "app"
    unpack(bundle, app)

    with coordinator(tmp_path, port, authority, out) as environment:
        name = ("--name", "hospital-a", "--format", "json")
        flwr(environment, "supernode", "register", site.public_key(), "hospitals", *name)
        served = subprocess.Popen(
            [script("fedskin"), "site", "serve", site.path],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            flwr(environment, "run", app, "hospitals", "--format", "json")
            wait_for(lambda: out.exists() or served.poll() is not None)
        finally:
            served.terminate()
            said = served.communicate(timeout=30)[0].decode()
    assert served.returncode == 0, said

    found = json.loads(out.read_text())
    for cheat, reason in CHEATS.items():
        if reason is None:
            assert found[cheat] == {"float32": [1.0] * 6}
        else:
            assert reason in found[cheat]["reason"], cheat
            assert len(found[cheat]["reason"]) <= 300
            assert "4711" not in found[cheat]["reason"]
    lines = last_records(site.records)
    assert [line["event"] for line in lines if line["event"] != "in"] == [
        *("out", *["refused"] * 5, "error", "error", "out"),
    ]
    assert "patient-4711" in lines[7]["reason"]  # the site's own people are told all of it
    (arrays,) = (r for r in lines[0]["records"] if r["name"] == "arrays")
    assert (arrays["kind"], arrays["bytes"]) == ("arrays", 2 * 3 * 4)


def unpack(bundle: Path, folder: Path) -> None:
    """Write a bundle's files to where Flower makes the very same bundle of them."""
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)
    (folder / ".info" / "CONTENT").unlink()
    (folder / ".info").rmdir()
    digest = hashlib.sha256(build_fab_from_disk(folder)).hexdigest()
    assert digest == hashlib.sha256(bundle.read_bytes()).hexdigest()
