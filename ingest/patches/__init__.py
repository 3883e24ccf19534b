"""Every change to the inside of a library, a module each.

Such a change leans on code that its authors may change without notice. So each module names the one version it was
written for, links to the code or issue upstream, and refuses any other version: whoever raises a pin in requirements/
reads there what has to be looked at first.

Importing a module of this package makes its change, but for those that say otherwise.
"""

from __future__ import annotations

from importlib.metadata import version

from ingest.errors import ConfigurationError


def written_for(distribution: str, pinned: str, check: str) -> None:
    """See that the library is the one that a change was written for.

    Args:
        distribution: its name on PyPI.
        pinned: the version.
        check: what to look at in another version before it is named here.

    Raises:
        ConfigurationError: another version is installed.
    """
    installed = version(distribution)
    if installed != pinned:
        raise ConfigurationError(
            f"{distribution} {installed} is installed, and Levain changes the inside of {distribution} {pinned}.",
            f"Install {distribution}=={pinned}, as requirements/ has it. To go to {installed}: {check}",
        )
