"""Clients that took part in a federated run, and those that are missing."""

from typing import Any

from training.participation import absences, absences_of, participation, pooled_clients, sampled

CLIENTS = ("a", "b", "c")


def test_rounds_are_counted_for_every_client() -> None:
    rounds = [{"clients": {"a": {}, "c": {}}}, {"clients": {"a": {}}}]
    assert participation(rounds, CLIENTS) == {"a": 2, "b": 0, "c": 1}


def test_what_each_missed_is_said_and_of_a_complete_run_nothing() -> None:
    whole = dict.fromkeys(CLIENTS, 2)
    assert absences(whole, 2, not_validated=(), not_tested=()) == {}
    said = absences({**whole, "b": 0}, 2, not_validated=["b", "c"], not_tested=["c"])
    assert said == {
        "b": "in 0 of 2 rounds, not in the validation of the best round",
        "c": "not in the validation of the best round, not in the pooled test figures",
    }


def test_a_client_that_was_not_asked_missed_nothing() -> None:
    rounds: list[dict[str, Any]] = [
        {"clients": {"a": {}, "b": {}}, "failures": {}},
        {"clients": {"a": {}}, "failures": {"b": "its process died"}},
    ]
    asked = sampled(rounds, CLIENTS)
    assert asked == {"a": 2, "b": 2, "c": 0}
    final = {
        "participation": participation(rounds, CLIENTS),
        "sampled": asked,
        "rounds": 2,
        "validation": {"missing": {}},
        "client_test": {"missing": {}},
    }
    assert absences_of(final) == {"b": "in 1 of 2 rounds that asked it"}


def test_the_figures_of_a_run_tell_it() -> None:
    assert absences_of({"rounds": 2, "validation": {"n": 5}}) == {}, "centralized"
    final = {
        "participation": {"a": 2, "b": 1},
        "rounds": 2,
        "validation": {"missing": {"b": "its process died"}},
        "client_test": {"missing": {}},
    }
    said = "in 1 of 2 rounds, not in the validation of the best round"
    assert absences_of(final) == {"b": said}
    whole = {"participation": {"a": 2, "b": 2}, "rounds": 2, "validation": {"missing": {}}}
    patients = {"missing": {"a": "its process died", "b": "sends no counts of patients"}}
    tests = {"missing": {"a": "its process died"}, "patients": patients}
    assert absences_of({**whole, "client_test": tests}) == {
        "a": "not in the pooled test figures",
        "b": "not in the pooled test figures by patient",
    }


def test_a_pooled_figure_is_of_all_clients_or_of_some() -> None:
    assert pooled_clients((), 3) == "all clients"
    assert pooled_clients(["b"], 3) == "2 of 3 clients"
