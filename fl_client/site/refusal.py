"""What a site refuses."""


class Refused(Exception):
    """A message or a reply that is not let through.

    Args:
        reason: in one line; it travels to the coordinator, so it never repeats what a reply holds.
        detail: the rest, for the site's own records only.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail

    @property
    def whole(self) -> str:
        """Reason and detail, for the site's own records."""
        return f"{self.reason}: {self.detail}" if self.detail else self.reason
