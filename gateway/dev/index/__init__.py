"""What `https://sandbox.localhost:8443/` shows in `gateway dev`: the sandboxes, their ports and how each is just now.

registry, port watch -> listing -> pages (text, JSON, the page) <- front (who asks)
"""
