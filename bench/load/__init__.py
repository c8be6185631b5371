"""What asks: wrk with one Lua script, and small clients for what wrk cannot do.

Each is a process of its own on the load's core, bounded in time and count, whose last line is JSON that `result.Flow`
can read. Our clients open their connections first, say `ready` and wait for a line, and keep them open after their
result until standard input ends: only what happens in between is measured. `engine` is what they stand on.
"""
