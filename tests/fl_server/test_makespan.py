"""The time that clients take together if they take turns."""

import pytest

from fl_server.federated_config import makespan


@pytest.mark.parametrize(
    ("side_by_side", "seconds"),
    [
        (1, 10.0),  # one after the other: 4 + 1 + 2 + 3
        (2, 6.0),  # 4 | 1, 2, 3
        (3, 4.0),  # 4 | 1, 3 | 2
        (4, 4.0),  # all at once: the longest
        (9, 4.0),
    ],
)
def test_each_begins_as_soon_as_there_is_room(side_by_side: int, seconds: float) -> None:
    assert makespan([4.0, 1.0, 2.0, 3.0], side_by_side) == seconds
