"""The coordinator of real sites: its certificates, its sites, its runs, and what serves them."""
