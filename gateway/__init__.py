"""The public HTTPS door of a sandbox platform: `https://<port>-<sandbox-id>.<domain>/` reaches that port of it."""

import os
import sys

__version__ = "0.1.0"

if os.environ.get("GATEWAY_PURE", "") not in ("", "0"):
    from gateway.pure import SourcesOnly

    sys.meta_path.insert(0, SourcesOnly(__name__))
