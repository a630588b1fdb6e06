"""The chapter about hospitals in a real browser."""

from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from experiments.report import write_report
from experiments.reporting.findings import read_findings
from tests.experiments.reporting.hospital_campaign import HOSPITALS, write_hospital_campaign


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hospitals") / "campaign"
    write_hospital_campaign(folder)
    write_report(read_findings(folder), folder / "report")
    return folder / "report" / "index.html"


def test_the_answer_stands_above_its_picture_and_everything_is_in_sight(
    page: Path, chromium: webdriver.Chrome
) -> None:
    chromium.get(page.as_uri())
    [chapter] = chromium.find_elements(By.XPATH, "//section[.//p[@class='answer']]")
    answer = chapter.text.index("3 of 3 hospitals gain over training alone")
    leak = chapter.text.index("may be in its training and in its test images")
    assert leak < answer
    [picture] = chapter.find_elements(By.CSS_SELECTOR, "figure svg")
    below = chapter.find_element(By.CSS_SELECTOR, ".answer").rect
    assert picture.rect["y"] >= below["y"] + below["height"]
    assert picture.rect["width"] > 400
    assert picture.rect["x"] + picture.rect["width"] <= 1300
    drawn = str(picture.get_property("textContent"))
    assert all(hospital.partition("(")[2].rstrip(")") in drawn for hospital in HOSPITALS)
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert chromium.execute_script(wide) <= 0
