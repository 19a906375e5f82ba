"""The life of a run: devices, processes, signals, files. It knows no model; it takes trees."""
