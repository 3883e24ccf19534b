"""What lands data: contracts, the Faust worker, the landing protocol, and sources that publish files and APIs."""

import os

# pyarrow reads this once, when it is imported: with its own choice the worker's peak was 40 MB higher
# (docs/decisions/0002-memory-of-the-worker.md).
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
