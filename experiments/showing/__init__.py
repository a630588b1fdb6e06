"""The local page of one run: `fedskin show`."""
