"""PyIceberg: a REST catalog whose answers are not waited for without end.

Upstream: https://github.com/apache/iceberg-python/issues/2772, solved by
https://github.com/apache/iceberg-python/pull/3418 in a later release: this module goes when that is pinned.
"""

from __future__ import annotations

from typing import Any

from pyiceberg.catalog.rest import RestCatalog
from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter

from ingest.patches import written_for

written_for(
    "pyiceberg",
    "0.12.0",
    "see whether the catalog has a property for its time-out, `connection.timeout`: then use that and remove this "
    "module. Else see whether `_config_headers` is still called for each session.",
)

REST_SECONDS = (10.0, 60.0)
"""How long a REST catalog may take to connect, and to answer. A commit that was not answered in time may have been made
or not: the lander looks."""


class PromptRestCatalog(RestCatalog):
    """PyIceberg's own, with time-outs."""

    def _config_headers(self, session: Session) -> None:
        super()._config_headers(session)
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Limited())


class _Limited(HTTPAdapter):
    def send(self, request: PreparedRequest, *arguments: Any, **options: Any) -> Response:
        options["timeout"] = options.get("timeout") or REST_SECONDS
        return super().send(request, *arguments, **options)
