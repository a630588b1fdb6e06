"""Every class of every data set has a name in words."""

import pytest

from data_partition.brats2019_names import BRATS2019_CLASSES
from data_partition.class_names import full_names, short_label
from data_partition.errors import DataError
from data_partition.image_table import HAM10000_CLASSES


def test_names_are_words_and_differ() -> None:
    for classes in (HAM10000_CLASSES, BRATS2019_CLASSES):
        names = full_names(classes)
        assert len(set(names)) == len(classes)
        assert not set(names) & set(classes)
    assert full_names(["mel", "nv"]) == ("melanoma", "melanocytic nevus")
    assert full_names(["HGG", "LGG"]) == ("high grade glioblastoma", "low grade glioma")


def test_labels_of_names_in_words() -> None:
    for label in HAM10000_CLASSES:
        [name] = full_names([label])
        assert short_label(name.upper()) == label
    assert short_label("Melanocytic nevi") == "nv"
    assert short_label("benign_keratosis-like lesions") == "bkl"
    assert short_label("nv") is None
    assert short_label("squamous cell carcinoma") is None


def test_a_class_without_a_name_is_told() -> None:
    with pytest.raises(DataError, match=r"^class 'scc' has no full name for its prompt; known"):
        full_names(["mel", "scc"])
