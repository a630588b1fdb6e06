"""The coordinator of real sites: its certificates, its sites, its runs, and the processes that
serve them.
"""
