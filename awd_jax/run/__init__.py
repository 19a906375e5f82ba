"""The lifecycle of a run: devices, processes, signals, files. It knows trees, but no model."""
