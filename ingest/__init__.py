"""Everything that lands data: contracts, the Faust worker, the landing protocol, samples."""

import os

# Before anything imports pyarrow, whose own allocators keep what a thread has freed for that same thread: a fetch is
# made in one thread and written in another.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
