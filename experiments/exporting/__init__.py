"""A run's best network in the forms that other programs read: ``fedskin export``."""
