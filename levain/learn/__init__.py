"""What is learned from the built tables: forecasts and scores."""
