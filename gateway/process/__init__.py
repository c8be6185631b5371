"""Processes: a supervisor that owns the sockets, workers, the admin."""
