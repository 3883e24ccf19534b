"""For those who change the models: `parity` compares the engines, `portability` keeps engine-specific SQL out."""
