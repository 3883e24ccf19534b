"""What is read from the built tables and changes nothing: `query`, `ledger` and `quality`."""
