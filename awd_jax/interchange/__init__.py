"""Models as files of other programs: read and written, by `tasks` alone."""
