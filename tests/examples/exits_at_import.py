"""A target that ends the process when it is imported: the refusal says so."""

import sys

sys.exit(3)
