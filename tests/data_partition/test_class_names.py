"""Every class of every published data set has a name in words, and an order in tables."""

import pytest

from data_partition.dataset import DataSet
from data_partition.datasets import find_dataset, in_naming_order, known_classes, own_datasets
from data_partition.ham10000_tables import HAM10000_CLASSES, short_label


@pytest.mark.parametrize("dataset", [d for d in own_datasets() if d.classes], ids=lambda d: d.name)
def test_names_are_words_and_differ(dataset: DataSet) -> None:
    classes = dataset.classes or ()
    names = dataset.names_in_words(classes)
    assert len(set(names)) == len(classes)
    assert not set(names) & set(classes)


def test_names() -> None:
    skin, brain = find_dataset("ham10000"), find_dataset("brats2019")
    assert skin.names_in_words(["mel", "nv"]) == ("melanoma", "melanocytic nevus")
    assert brain.names_in_words(["HGG", "LGG"]) == ("high grade glioblastoma", "low grade glioma")


def test_a_label_without_a_name_is_its_own_words() -> None:
    labels = ["basal_cell-carcinoma", "Nevus", "_odd__one_"]
    assert find_dataset("table").names_in_words(labels) == (
        "basal cell carcinoma",
        "Nevus",
        "odd one",
    )


def test_labels_of_names_in_words() -> None:
    for label in HAM10000_CLASSES:
        [name] = find_dataset("ham10000").names_in_words([label])
        assert short_label(name.upper()) == label
    assert short_label("Melanocytic nevi") == "nv"
    assert short_label("benign_keratosis-like lesions") == "bkl"
    assert short_label("nv") is None
    assert short_label("squamous cell carcinoma") is None


def test_what_harms_most_is_named_first() -> None:
    assert in_naming_order(["akiec", "LGG", "HGG", "mel"]) == ["HGG", "mel", "akiec", "LGG"]
    assert known_classes()[:2] == ("mel", "HGG")
