"""Everything that lands data: contracts, the Faust worker, the landing protocol, samples."""
