"""The reason phrase of every registered status code.

A table of our own: the standard library's follows whatever RFC was current when a Python was released (414 was
"Request-URI Too Long" up to 3.12), and what the gateway says must not depend on the interpreter it runs on.
"""

from __future__ import annotations

from typing import Final

_REGISTERED: Final = """
100 Continue
101 Switching Protocols
102 Processing
103 Early Hints
200 OK
201 Created
202 Accepted
203 Non-Authoritative Information
204 No Content
205 Reset Content
206 Partial Content
207 Multi-Status
208 Already Reported
226 IM Used
300 Multiple Choices
301 Moved Permanently
302 Found
303 See Other
304 Not Modified
305 Use Proxy
307 Temporary Redirect
308 Permanent Redirect
400 Bad Request
401 Unauthorized
402 Payment Required
403 Forbidden
404 Not Found
405 Method Not Allowed
406 Not Acceptable
407 Proxy Authentication Required
408 Request Timeout
409 Conflict
410 Gone
411 Length Required
412 Precondition Failed
413 Content Too Large
414 URI Too Long
415 Unsupported Media Type
416 Range Not Satisfiable
417 Expectation Failed
421 Misdirected Request
422 Unprocessable Content
423 Locked
424 Failed Dependency
425 Too Early
426 Upgrade Required
428 Precondition Required
429 Too Many Requests
431 Request Header Fields Too Large
451 Unavailable For Legal Reasons
500 Internal Server Error
501 Not Implemented
502 Bad Gateway
503 Service Unavailable
504 Gateway Timeout
505 HTTP Version Not Supported
506 Variant Also Negotiates
507 Insufficient Storage
508 Loop Detected
510 Not Extended
511 Network Authentication Required
"""
"""IANA's HTTP Status Code Registry: RFC 9110 section 15, and RFC 2295, 2518, 2774, 3229, 4918, 5842, 6585, 7725, 8297
and 8470. Reserved numbers (306, 418) and temporary registrations (104) have no phrase."""

_PHRASES: Final = {int(line[:3]): line[4:].encode() for line in _REGISTERED.split("\n") if line}


def phrase_for(status: int) -> bytes:
    """The registered reason phrase of `status`, or b""."""
    return _PHRASES.get(status, b"")
