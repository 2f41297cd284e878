"""What this repository's own tests need beyond the installed plugin."""

from __future__ import annotations

import os

# one thread per worker, set before the libraries that read it are loaded
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["pytester"]
