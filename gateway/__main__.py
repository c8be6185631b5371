"""`python -m gateway`: the same as the command `gateway`, for where scripts are not on the path."""

from gateway.cli import main

raise SystemExit(main())
