"""A site's own rules besides the form of replies: known requests, and its policy on counts.

The form of replies is declared in `strategies.expected_replies`.
"""

from collections.abc import Mapping
from typing import Any

from fl_client.site.policy import Policy
from strategies.exchange import LOCAL, LOCAL_LAYOUT
from strategies.expected_replies import CLASS_COUNTS
from strategies.histograms import FIELDS
from strategies.layout import LAYOUT, Layout, LayoutError
from strategies.refusal import Refused
from strategies.reply_form import Content
from strategies.temperature_losses import FIELD as TEMPERATURE_LOSSES

_REQUESTS = {
    "query": set[str](),
    "train": {"arrays", LOCAL, "text"},
    "evaluate": {"arrays", LOCAL, "text"},
    "query.heads": {"arrays", LOCAL, "text", "test"},
}
_LAYOUTS = {"arrays": LAYOUT, LOCAL: LOCAL_LAYOUT}


def check_request(kind: str, content: Content) -> None:
    """Check that a message is of a kind whose replies a site can check.

    Raises:
        Refused: its type or one of its records is not known here.
    """
    if kind not in _REQUESTS:
        raise Refused(f"messages of type {kind!r} are not known here")
    if content.configs.keys() - _LAYOUTS.values() != {"config"} or content.metrics:
        raise Refused("the message's records are not a config and arrays")
    if unknown := content.arrays.keys() - _REQUESTS[kind]:
        raise Refused(f"a {kind} message contains no arrays {min(unknown)!r}")
    for record, named in _LAYOUTS.items():
        if record in content.arrays:
            try:
                layout = Layout.read(content.configs.get(named))
            except LayoutError as error:
                raise Refused(str(error)) from None
            if layout.flat_signature() != content.arrays[record]:
                raise Refused(f"the message's {record} are not as its layout says")


def check_policy(metrics: Mapping[str, Any], policy: Policy) -> None:
    """Refuse a reply that tells more than the site's policy allows.

    That is a count of examples between 1 and ``min-examples`` − 1, or histograms or counts of
    classes where there may be none.

    Raises:
        Refused: naming the first such field.
    """
    for key, value in metrics.items():
        counts_examples = key.startswith("num-") or key.endswith("-examples")
        if counts_examples and 0 < value < policy.min_examples:
            raise Refused(
                f"one of its splits has fewer than {policy.min_examples} images", repr(key)
            )
        if key.endswith((*FIELDS, TEMPERATURE_LOSSES)) and not policy.histograms:
            raise Refused("it has histograms, and its policy allows none", repr(key))
        if key == CLASS_COUNTS and not policy.class_counts:
            raise Refused("it has counts of classes, and its policy allows none", key)
