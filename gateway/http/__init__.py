"""HTTP/1.1 as values: bytes in, heads and bodies out, and back; no sockets, no event loop, no clock.

`head_parser` cuts and parses heads, `validate` is the one gate every head passes (whatever codec made it), `body`
decodes message bodies by their framing, `serialize` writes messages anew. Request bytes are never copied through:
what leaves was parsed, checked and written again.
"""
