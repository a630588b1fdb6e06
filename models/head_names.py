"""The classical heads by name; apart from `models.heads`, since that loads scikit-learn."""

HEADS = ("knn", "svm", "rf")
