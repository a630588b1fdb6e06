"""Benchmark campaigns: many trials from one file; and the campaigns that come with fedskin."""
