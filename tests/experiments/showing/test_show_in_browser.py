"""``fedskin show`` as a process, in a real browser."""

import json
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.experiments.exporting.exported_runs import finished_run
from tests.runs import FEDSKIN, fedskin, tiny_options

pytestmark = pytest.mark.slow


def ask(browser: webdriver.Chrome, file: Path) -> str:
    """Choose a file; return what is said of it in the end."""
    browser.find_element(By.ID, "file").send_keys(str(file))
    status = browser.find_element(By.ID, "status")
    WebDriverWait(browser, 120).until(lambda _: status.text and "Classifying" not in status.text)
    return status.text


def test_a_photograph_is_classified_and_the_server_ends(
    chromium: webdriver.Chrome, synthetic_ham: Path, tmp_path: Path
) -> None:
    options = tiny_options(synthetic_ham, tmp_path / "cache", rounds=1)
    made = fedskin("simulate", *options, "--out", "run", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    image = next(synthetic_ham.glob("ISIC2018_Task3_Test_Input/*.jpg"))
    command = [FEDSKIN, "show", "run"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            said = [server.stdout.readline() for _ in range(2)]
            assert "SYNTHETIC" in said[0]
            url = said[1].removeprefix("Open").strip()
            chromium.get_log("browser")
            chromium.get_log("performance")
            chromium.get(url)
            assert "Not a medical device" in chromium.find_element(By.TAG_NAME, "header").text
            assert ask(chromium, image) == image.name
            rows = chromium.find_elements(By.CSS_SELECTOR, "#bars tbody tr")
            assert len(rows) == 7
            assert rows[0].text.split()[0] in chromium.find_element(By.ID, "predicted").text
            # So few validation images leave a class in every set, and the page says so.
            assert "every image: the validation" in chromium.find_element(By.ID, "set").text
            assert len(chromium.find_elements(By.CSS_SELECTOR, "#figures tbody tr")) == 3
            widths = chromium.execute_script(
                "return ['photo', 'heat-map'].map((id) => document.getElementById(id).naturalWidth)"
            )
            assert widths == [200, 320]  # as synthetic images are, and enlarged
            chromium.find_element(By.CSS_SELECTOR, "#card summary").click()
            assert "Limits" in chromium.find_element(By.CSS_SELECTOR, ".card").text
            assert chromium.get_log("browser") == []
            events = [json.loads(e["message"])["message"] for e in chromium.get_log("performance")]
            asked = [
                event["params"]["request"]["url"]
                for event in events
                if event["method"] == "Network.requestWillBeSent"
            ]
            assert [address for address in asked if not address.startswith((url, "data:"))] == []
            damaged = tmp_path / "damaged.jpg"
            damaged.write_bytes(image.read_bytes()[:900])
            assert ask(chromium, damaged).startswith("damaged.jpg: the image: not a readable image")
            assert not chromium.find_element(By.ID, "answer").is_displayed()
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
        assert server.returncode == 0


def test_what_prevents_a_page_is_one_line(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run").path
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = fedskin("show", run, "--port", port, cwd=tmp_path)
    for path in (run / "checkpoint").glob("*.safetensors"):
        path.unlink()
    empty = fedskin("show", run, cwd=tmp_path)
    for found in (refused, empty):
        assert found.returncode == 2
        assert len(found.stderr.strip().splitlines()) == 1, found.stderr
    assert "is taken by another program; take another --port" in refused.stderr
