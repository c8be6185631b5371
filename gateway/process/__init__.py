"""Processes: a supervisor that owns the sockets, workers, the admin; and `gateway dev`, all in one."""
