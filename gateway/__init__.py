"""The public HTTPS door of a sandbox platform: `https://<port>-<sandbox-id>.<domain>/` reaches that port of it."""

__version__ = "0.1.0"
