"""What is not let through, at a site or at the coordinator."""


class Refused(Exception):
    """A message or a reply that is not let through.

    Args:
        reason: in one line; a site tells it to the coordinator, so it never repeats what a reply
            holds.
        detail: the rest, for whoever refuses.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail

    @property
    def whole(self) -> str:
        """Reason and detail; as long as what was refused made them."""
        return f"{self.reason}: {self.detail}" if self.detail else self.reason
