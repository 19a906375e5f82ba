"""Reads and writes models as files of other programs; only `tasks` uses it."""
