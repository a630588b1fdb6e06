"""Clients that took part in a federated run, and those that are missing."""

from training.participation import absences, absences_of, participation

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
