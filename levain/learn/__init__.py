"""What is learned from the built tables: forecasts and scores."""

from __future__ import annotations

from ingest.errors import ConfigurationError


def check_library(purpose: str) -> None:
    """See that there is scikit-learn.

    Args:
        purpose: what it is for, as the end of a sentence about it.

    Raises:
        ConfigurationError: there is none.
    """
    try:
        import sklearn.ensemble  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            f"scikit-learn is not installed, {purpose}.", "Install it with `make setup-learning`."
        ) from error
