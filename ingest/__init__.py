"""Everything that lands data: contracts, the Faust worker, the landing protocol, samples."""

import os

# Before anything imports pyarrow: with its own choice the worker's peak was 40 MB higher (DECISIONS.md).
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
