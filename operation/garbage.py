"""Python's garbage collector in processes that pass models on."""

import gc


def collect_promptly() -> None:
    """Leave all that is there now out of garbage collection, so that the rest is collected often.

    Requests in Starlette hold themselves in cycles, and with them bodies of megabytes. Python looks
    for old cycles only once a quarter as many objects are new as there are old ones, and the
    imported libraries alone are hundreds of thousands.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # only now does Python count those that are left
    gc.set_threshold(700, 2, 2)
