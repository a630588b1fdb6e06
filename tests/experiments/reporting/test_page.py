"""The page is one file that needs nothing else, and its data are the ledger's."""

import html.parser
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.reporting.comparisons import compare
from experiments.reporting.findings import Findings
from experiments.reporting.page import page, page_data
from tests.experiments.reporting.small_campaign import BACKBONES, DONE, PLANNED
from training.data_description import SYNTHETIC
from training.scores import further_scores


class Elements(html.parser.HTMLParser):
    """Every element with its attributes, and the data."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.data = ""
        self._in_data = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._in_data = dict(attrs).get("id") == "data"

    def handle_data(self, data: str) -> None:
        if self._in_data:
            self.data += data

    def handle_endtag(self, tag: str) -> None:
        self._in_data = False


@pytest.fixture(scope="module")
def text(campaign: Path) -> str:
    return (campaign / "report" / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def data(text: str) -> Any:
    return json.loads(Elements(text).data)


def test_it_loads_nothing(text: str) -> None:
    """A link loads nothing until somebody follows it."""
    for tag, attributes in Elements(text).found:
        if tag == "a":
            continue
        for name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            value = attributes.get(name) or "#"
            assert value.startswith("#") or value == "data:,", (tag, name, value)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert "default-src 'none'" in text


def test_ids_are_unique_and_every_reference_has_its_target(text: str) -> None:
    ids = [attributes["id"] for _, attributes in Elements(text).found if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = re.findall(r'(?:url\(#|href="#)([^)"]+)', text)
    assert set(targets) <= set(ids)


def test_it_says_synthetic_and_how_far_the_campaign_is(text: str) -> None:
    assert SYNTHETIC in text
    assert "<title>SYNTHETIC: generated</title>" in text
    assert f"{DONE} of {PLANNED} trials are done" in text
    assert "not for diagnosis" in text


def test_every_figure_and_table_stands_in_it(text: str, campaign: Path) -> None:
    for path in (campaign / "report").glob("*/*"):
        if path.suffix != ".png":
            assert path.stem in text
    assert text.count("<svg ") == len(list((campaign / "report" / "figures").glob("*.svg")))


def test_figures_and_tables_are_links_to_their_files(text: str, campaign: Path) -> None:
    """Every drawing leads to itself, and every file of the report can be reached."""
    links = [str(attributes["href"]) for tag, attributes in Elements(text).found if tag == "a"]
    files = {link for link in links if not link.startswith("#")}
    written = {
        path.relative_to(campaign / "report").as_posix()
        for path in (campaign / "report").glob("*/*")
    }
    assert files == written
    figures = re.findall(r'<figure><a href="(figures/[^"]+\.svg)" role="img"', text)
    assert len(figures) == text.count("<figure") == len([f for f in written if ".svg" in f])


def test_who_lost_a_client_is_named_where_one_reads_first(findings: Findings) -> None:
    table = findings.table.copy()
    lost = table["trial"] == table.loc[table["command"] == "simulate", "trial"].iloc[0]
    said = "client-2: in 1 of 3 rounds"
    table.loc[lost, ["complete", "absences"]] = False, said
    changed = replace(findings, table=table, comparisons=compare(table))
    text = page(changed, drawings=[], tables=[])
    assert "1 trial is not complete" in text
    trial = str(table.loc[lost, "trial"].iloc[0])
    assert f'<a href="#trial={trial}">{trial}</a>: {said}' in text
    data = json.loads(Elements(text).data)
    complete, name = data["columns"].index("complete"), data["columns"].index("trial")
    assert {row[name] for row in data["rows"] if row[complete] == "no"} == {trial}
    assert data["trials"][trial]["absences"] == said
    assert "trial is not complete" not in page(findings, drawings=[], tables=[])


def test_a_trial_brings_recall_by_class(data: Any) -> None:
    trial = next(name for name in data["trials"] if name.startswith("heads-maxvit_t"))
    own = data["trials"][trial]
    classes = own["recall"]["classes"]
    assert classes == ["mel", "akiec", "bcc", "bkl", "df", "nv", "vasc"]
    models = [row["model"] for row in own["figures"]]
    for model, counts in zip(models, own["recall"]["rows"], strict=True):
        matrix = own["confusions"][model]
        expected = [[matrix[i][i], sum(matrix[i])] for i in map(own["classes"].index, classes)]
        assert counts == expected
    rows = [dict(zip(data["columns"], values, strict=True)) for values in data["rows"]]
    first = next(row for row in rows if row["trial"] == trial)
    assert first[data["recall"]] == own["recall"]["rows"][0][0]
    assert (data["recall"], first["over"]) == ("mel / HGG", 7)


def test_its_figures_are_the_ledgers(data: Any, findings: Findings) -> None:
    table = findings.table
    assert len(data["trials"]) == DONE
    shown = table[table["test_set"].isin(["global_test", "client_test"])]
    assert len(data["rows"]) == len(shown)
    avg = data["columns"].index("AVG")
    assert sum(row[avg] for row in data["rows"]) == pytest.approx(shown["avg"].sum(), abs=0.01)
    trial = next(name for name in data["trials"] if name.startswith("simulate-swin_b"))
    figures = data["trials"][trial]["figures"]
    assert [row["test_set"] for row in figures] == [
        "global_test",
        "client_test",
        *(f"client-{i}" for i in range(3)),
    ]
    assert figures[1]["avg_low"] is None  # JSON has no NaN


def test_a_trial_brings_its_config_curve_and_counts(data: Any, findings: Findings) -> None:
    trial = next(name for name in data["trials"] if name.startswith("heads-maxvit_t"))
    own = data["trials"][trial]
    config = {**data["config"], **own["config"]}
    assert (config["backbone"], config["epochs"]) == ("maxvit_t", 3)
    assert not {"run-dir", "cache-dir"} & config.keys()
    assert own["curve"]["round"] == [1, 2, 3]
    assert own["curve"]["validation_avg"] == pytest.approx(
        findings.records[trial].curve["validation_avg"].tolist(), abs=1e-4
    )
    assert own["classes"] == ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
    assert set(own["confusions"]) == {"network", "knn", "svm", "rf"}
    assert sum(map(sum, own["confusions"]["svm"])) == own["figures"][0]["n"]


def test_names_cannot_break_out(findings: Findings) -> None:
    evil = "</script><script>alert(1)</script><!--"
    table = findings.table.assign(host=evil)
    text = page(
        replace(findings, name=evil, table=table, set_aside={evil: evil}), drawings=[], tables=[]
    )
    assert evil not in text
    assert sum(tag == "script" for tag, _ in Elements(text).found) == 2
    trial = next(iter(json.loads(Elements(text).data)["trials"].values()))
    assert trial["about"]["host"] == evil


def test_without_a_finished_trial_it_says_so(findings: Findings) -> None:
    empty = findings.table.iloc[:0]
    text = page(
        replace(findings, table=empty, records={}, comparisons=compare(empty), rankings=[]),
        drawings=[],
        tables=[],
    )
    assert "No trial has finished yet" in text
    assert f"0 of {PLANNED} trials are done" in text
    assert json.loads(Elements(text).data)["rows"] == []


def test_why_there_is_no_rank_test_is_said(text: str) -> None:
    # One setting with one seed of each kind but the heads, which have a block for each head.
    assert text.count("1 of 1 blocks hold all 3 backbones, and it takes at least two") == 2


def test_what_was_set_aside_is_named(findings: Findings) -> None:
    changed = replace(findings, set_aside={"clip-x": "config.toml: is not TOML"})
    text = page(changed, drawings=[], tables=[])
    assert "<code>clip-x</code>: config.toml: is not TOML" in text


def test_the_filters_values_are_those_of_the_campaign(data: Any) -> None:
    backbone = data["columns"].index("backbone")
    assert {row[backbone] for row in data["rows"]} == set(BACKBONES)
    settings = ["kind", "data set", "text encoder", "strategy", "optimizer"]
    assert data["settings"] == settings
    assert set(settings) < set(data["columns"])


def test_a_row_begins_with_what_it_is_and_what_it_reached(data: Any) -> None:
    assert data["columns"][:-5] == [
        *("trial", "backbone", "setting", "seed", "model", "test set", "by"),
        *("AVG", "AVG, 95 %", "mel / HGG", "ACC", "BACC", "over", "PRE", "REC", "F1"),
        *(name.upper() for name in further_scores()),
        *("complete", "n"),
    ]
    rows = [dict(zip(data["columns"], values, strict=True)) for values in data["rows"]]
    trial = next(row for row in rows if row["trial"].startswith("simulate-"))
    assert trial["setting"] == "Federated classifier · HAM10000 · FedProx · SGD"
    low, high = trial["AVG, 95 %"]
    assert low < trial["AVG"] < high
    assert {row["AVG, 95 %"] for row in rows if row["test set"] != "global"} == {None}


@pytest.mark.parametrize(
    "weights, setting",
    [
        ("random, seed 0", "Centralized CLIP · BraTS2019 · ViT-L/14"),
        (
            "",
            "Centralized CLIP · BraTS2019 · ViT-L/14 · RANDOM text tower (random, seed 0)",
        ),
    ],
    ids=["all have it", "some have it"],
)
def test_a_random_text_tower_is_said_where_not_all_have_it(
    weights: str, setting: str, findings: Findings
) -> None:
    table = findings.table[findings.table["command"] == "clip"].copy()
    table["text_weights"] = "random, seed 0"
    table.loc[table["config.backbone"] == "swin_b", "text_weights"] = weights
    comparisons = compare(table)
    data = json.loads(page_data(replace(findings, table=table, comparisons=comparisons)))
    rows = [dict(zip(data["columns"], values, strict=True)) for values in data["rows"]]
    assert setting in {row["setting"] for row in rows}
    tower = "RANDOM text tower (random, seed 0)"
    assert tower in {row["text tower"] for row in rows}
