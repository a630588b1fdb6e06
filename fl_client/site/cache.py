"""A site's cache, limited to the size in its policy."""

from pathlib import Path

from data_partition.image_store import store_side
from strategies.refusal import Refused
from training.cache_folder import entries, remove


def make_room(cache: Path, image_size: int, most: int) -> None:
    """Remove what was unused for the longest time, so that a run's images have room within the
    bound.

    Which images are the run's only their whole table would tell, so those of its size that were
    used last are taken for them, and not removed. If there are none of that size, as many are
    expected as there are of another one. A run that reads images of the same size otherwise than
    the one before, by key ``input`` or another, may exceed the bound by its own, until its next
    message.

    Args:
        most: maximum bytes of the cache, including images of that size.

    Raises:
        Refused: the images of that size alone need more; nothing is removed then.
    """
    found = entries(cache)
    side = store_side(image_size)
    stores = [one for one in found if one.images]
    # Others of the same size belong to files that have changed since, or were read otherwise.
    in_use = max((one for one in stores if one.images[1:2] == (side,)), default=None)
    number = max((one.images[0] for one in stores), default=0)
    needed = in_use.size if in_use else number * side * side * 3
    if needed > most:
        raise Refused(
            f"image-size = {image_size}: its images take {needed / 1e9:.1f} GB, and its policy "
            f"allows max-cache-bytes = {most}"
        )
    others = sorted(one for one in found if one is not in_use)
    while others and needed + sum(one.size for one in others) > most:
        remove(others.pop(0))
