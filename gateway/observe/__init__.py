"""What is written down about each exchange: request ids and the access log.

Knows values only; who asks and where lines go is decided above.
"""
