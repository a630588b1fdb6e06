"""The report of a campaign: figures, tables and a page."""
