"""The admin listener: health for balancers and orchestrators, the operator's API, on its own socket and, under a
supervisor, in its own process. Health is open to whoever reaches the socket; the API may ask for a token.
"""
