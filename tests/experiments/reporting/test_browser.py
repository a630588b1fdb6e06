"""The page in a real browser: headless Chromium, as in Debian's chromium and chromium-driver."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from experiments.reporting.comparisons import compare
from experiments.reporting.findings import Findings
from experiments.reporting.page import page
from tests.experiments.reporting.small_campaign import DONE


@pytest.fixture
def browser(chromium: webdriver.Chrome, campaign: Path) -> webdriver.Chrome:
    """The page, freshly opened."""
    chromium.get("about:blank")
    chromium.get((campaign / "report" / "index.html").as_uri())
    return chromium


def rows(browser: webdriver.Chrome) -> list[WebElement]:
    found = browser.find_elements(By.CSS_SELECTOR, "#results-table tbody tr")
    return [row for row in found if row.is_displayed()]


def header(browser: webdriver.Chrome, name: str) -> WebElement:
    path = f"//table[@id='results-table']//th[button[text()='{name}']]"
    return browser.find_element(By.XPATH, path)


def column(browser: webdriver.Chrome, name: str) -> list[str]:
    names = browser.find_elements(By.CSS_SELECTOR, "#results-table th")
    place = [th.get_property("textContent") for th in names].index(name)
    return [
        str(row.find_elements(By.TAG_NAME, "td")[place].get_property("textContent"))
        for row in rows(browser)
    ]


def shown(browser: webdriver.Chrome, part: str) -> None:
    """Wait for a part of the page: a link is followed a moment after it was clicked."""
    found = browser.find_element(By.ID, part)
    WebDriverWait(browser, 20).until(lambda _: found.is_displayed())


def test_a_header_sorts_and_sorts_back(browser: webdriver.Chrome) -> None:
    avg = header(browser, "AVG")
    assert avg.get_attribute("aria-sort") == "none"
    button = avg.find_element(By.TAG_NAME, "button")
    button.click()
    assert avg.get_attribute("aria-sort") == "descending"
    found = [float(text) for text in column(browser, "AVG")]
    assert len(found) > DONE
    assert found == sorted(found, reverse=True)
    button.send_keys(Keys.ENTER)  # by keyboard, too
    assert avg.get_attribute("aria-sort") == "ascending"
    assert [float(text) for text in column(browser, "AVG")] == sorted(found)
    header(browser, "backbone").find_element(By.TAG_NAME, "button").click()
    assert avg.get_attribute("aria-sort") == "none"
    names = column(browser, "backbone")
    assert names == sorted(names)


def test_text_and_selects_filter(browser: webdriver.Chrome) -> None:
    # The global test set, by image: three networks of each kind and three heads on three of them.
    count = browser.find_element(By.ID, "count")
    assert count.text.startswith("18 of ")
    browser.find_element(By.ID, "filter-text").send_keys("fedprox SWIN")
    assert column(browser, "backbone") == ["swin_b"]
    assert count.text.startswith("1 of ")
    browser.find_element(By.ID, "filter-text").clear()
    browser.find_element(By.ID, "filter-text").send_keys("heads")
    model = browser.find_element(By.CSS_SELECTOR, "select[data-column=model]")
    Select(model).select_by_visible_text("SVM")
    assert column(browser, "model") == ["SVM"] * 3
    assert not header(browser, "model").is_displayed()  # all rows have the same


def test_a_trial_has_a_page_and_back_leads_back(browser: webdriver.Chrome) -> None:
    browser.find_element(By.ID, "filter-text").send_keys("heads maxvit_t svm")
    (row,) = rows(browser)
    link = row.find_element(By.TAG_NAME, "a")
    name = link.get_attribute("title")
    link.click()
    assert browser.current_url.endswith(f"#trial={name}")
    page = browser.find_element(By.ID, "trial")
    shown(browser, "trial")
    assert not browser.find_element(By.ID, "report").is_displayed()
    assert page.find_element(By.TAG_NAME, "h2").text == name
    assert "SYNTHETIC" in page.text
    assert len(page.find_elements(By.CSS_SELECTOR, "svg.chart path")) == 3  # AVG, two losses
    assert len(page.find_elements(By.CSS_SELECTOR, "table.confusion")) == 4
    classes = page.find_elements(By.CSS_SELECTOR, "table.confusion:first-of-type thead th")
    assert classes[0].text == "akiec"
    assert "maxvit_t" in page.find_element(By.CSS_SELECTOR, ".config").text
    browser.back()
    shown(browser, "report")
    assert not browser.find_element(By.ID, "trial").is_displayed()


def test_a_trial_can_be_linked_to_and_an_unknown_one_is_said(
    browser: webdriver.Chrome, campaign: Path
) -> None:
    page = (campaign / "report" / "index.html").as_uri()
    name = sorted(path.name for path in (campaign / "trials").iterdir())[0]
    browser.get("about:blank")
    browser.get(f"{page}#trial={name}")
    assert browser.find_element(By.CSS_SELECTOR, "#trial h2").text == name
    browser.get(f"{page}#trial=nobody")
    assert "This report has no such trial" in browser.find_element(By.ID, "trial").text


def test_the_results_need_no_scrolling_sideways(browser: webdriver.Chrome) -> None:
    wide = (
        "const s = document.querySelector('#results .scroll'); return s.scrollWidth - s.clientWidth"
    )
    assert browser.execute_script(wide) <= 0
    # Also with every column that a filter can hide.
    for name in ("test set", "by"):
        select = browser.find_element(By.CSS_SELECTOR, f"select[data-column='{name}']")
        Select(select).select_by_visible_text("all")
    assert header(browser, "by").is_displayed()
    assert browser.execute_script(wide) <= 0


def test_the_further_scores_take_the_place_of_the_studys(browser: webdriver.Chrome) -> None:
    """All side by side would be too wide. An error is sorted from the lowest."""
    assert (header(browser, "F1").is_displayed(), header(browser, "ECE").is_displayed()) == (1, 0)
    Select(browser.find_element(By.ID, "filter-scores")).select_by_visible_text("further")
    assert (header(browser, "F1").is_displayed(), header(browser, "ECE").is_displayed()) == (0, 1)
    header(browser, "ECE").find_element(By.TAG_NAME, "button").click()
    cells = [row.find_element(By.CSS_SELECTOR, "[data-label=ECE]").text for row in rows(browser)]
    assert [float(cell) for cell in cells] == sorted(float(cell) for cell in cells)


def test_what_all_rows_share_is_said_once(browser: webdriver.Chrome) -> None:
    said = browser.find_element(By.ID, "same").text
    assert "text encoder ViT-L/14, strategy FedProx, optimizer SGD, seed 0" in said
    assert not header(browser, "seed").is_displayed()


def test_figures_stand_beside_each_other(browser: webdriver.Chrome) -> None:
    figures = "document.querySelectorAll('section:nth-of-type(2) figure')"
    left = f"return [...{figures}].map(figure => figure.offsetLeft)"
    assert len(set(browser.execute_script(left))) == 2
    browser.set_window_size(500, 900)
    try:
        assert len(set(browser.execute_script(left))) == 1
    finally:
        browser.set_window_size(1300, 1000)


def test_synthetic_is_seen_wherever_one_reads(browser: webdriver.Chrome) -> None:
    banner = browser.find_element(By.CSS_SELECTOR, ".synthetic")
    browser.execute_script("scrollTo(0, document.body.scrollHeight)")
    inside = "const r = arguments[0].getBoundingClientRect(); return r.top >= 0 && r.bottom <= 100"
    assert browser.execute_script(inside, banner)
    assert "SYNTHETIC" in banner.text


def test_on_a_phone_nothing_sticks_out(browser: webdriver.Chrome) -> None:
    browser.set_window_size(500, 900)
    try:
        wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert browser.execute_script(wide) <= 0
    finally:
        browser.set_window_size(1300, 1000)


def phone(browser: webdriver.Chrome) -> None:
    """Be 400 pixels wide, which no window of a desktop is."""
    size = {"width": 400, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def test_on_a_phone_the_figures_are_in_sight(browser: webdriver.Chrome) -> None:
    """Those of every row, of the comparisons and of a trial's page: nothing stands beyond the edge.

    A confusion matrix of seven classes is a square, and may be scrolled.
    """
    beyond = (
        "return [...document.querySelectorAll('.cards td, figure svg')].filter(part =>"
        " part.checkVisibility() && part.getBoundingClientRect().right > 400).length"
    )
    phone(browser)
    try:
        row = rows(browser)[0]
        label = "return getComputedStyle(arguments[0], '::before').content"
        (avg,) = row.find_elements(By.CSS_SELECTOR, "td[data-label=AVG]")
        assert avg.is_displayed()
        assert browser.execute_script(label, avg) == '"AVG"'
        assert browser.execute_script(beyond) == 0
        row.find_element(By.TAG_NAME, "a").click()
        shown(browser, "trial")
        assert browser.find_element(By.CSS_SELECTOR, "#trial .cards td").is_displayed()
        assert browser.execute_script(beyond) == 0
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_what_is_not_complete_is_marked_in_its_row(
    chromium: webdriver.Chrome, findings: Findings, tmp_path: Path
) -> None:
    table = findings.table.copy()
    trial = str(table.loc[table["command"] == "simulate", "trial"].iloc[0])
    table.loc[table["trial"] == trial, ["complete", "absences"]] = False, "client-2: in 1 of 3"
    changed = replace(findings, table=table, comparisons=compare(table))
    (tmp_path / "index.html").write_text(page(changed, [], []), encoding="utf-8")
    chromium.get((tmp_path / "index.html").as_uri())
    marked = [row for row in rows(chromium) if "not complete" in row.text]
    assert [row.find_element(By.TAG_NAME, "a").get_attribute("title") for row in marked] == [trial]
    select = chromium.find_element(By.CSS_SELECTOR, "select[data-column=complete]")
    Select(select).select_by_visible_text("no")
    assert len(rows(chromium)) == 1
    chromium.get(f"{(tmp_path / 'index.html').as_uri()}#trial={trial}")
    assert "Not complete: client-2: in 1 of 3" in chromium.find_element(By.ID, "trial").text


def test_recall_is_sorted_by_its_share(browser: webdriver.Chrome) -> None:
    header(browser, "mel / HGG").find_element(By.TAG_NAME, "button").click()
    shares = [int(a) / int(b) for a, b in (t.split("/") for t in column(browser, "mel / HGG"))]
    assert len(shares) > DONE
    assert shares == sorted(shares, reverse=True)


def test_nothing_is_asked_of_a_network_and_nothing_goes_wrong(
    browser: webdriver.Chrome, campaign: Path
) -> None:
    browser.get_log("performance")
    browser.get("about:blank")
    browser.get((campaign / "report" / "index.html").as_uri())
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert asked
    assert all(url.startswith(("file:", "data:", "about:")) for url in asked), asked
    assert browser.get_log("browser") == []
