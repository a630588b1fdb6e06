"""What a campaign has shown: figures, tables, a page."""
