"""A Reason made readable: which form the asker can use, and the reply in that form.

Values in, values out: no event loop, no sockets. Every reply carries the marker fields that no app can forge.
"""
