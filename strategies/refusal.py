"""Refusal of a message or reply, at a site or at the coordinator."""


class Refused(Exception):
    """A message or a reply that is refused.

    Args:
        reason: one line; a site sends it to the coordinator, so it must not contain any content of
            a reply.
        detail: further text, used only on the side that refuses.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail

    @property
    def whole(self) -> str:
        """Reason and detail; its length depends on the refused content."""
        return f"{self.reason}: {self.detail}" if self.detail else self.reason
