"""The admin listener: health for balancers and orchestrators, on its own socket and in its own process."""
