"""Python's garbage collector in processes that pass models on."""

import gc


def collect_promptly() -> None:
    """Exclude all present objects from garbage collection, so that new ones are collected often.

    Starlette's requests are in reference cycles and hold bodies of megabytes. Python searches for
    old cycles only when the new objects are a quarter of the old ones, and the imported libraries
    alone are hundreds of thousands of objects.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # makes Python count the remaining objects
    gc.set_threshold(700, 2, 2)
