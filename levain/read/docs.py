"""`levain docs`: dbt's docs, with the lineage of columns beside them, as pages that need no network."""

from __future__ import annotations

import json
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ingest.errors import BadInput
from ingest.settings import Settings
from levain.project import LINEAGE_FIRST
from levain.terminal import errors, say, warn
from levain.warehouse.columns import colibri, load_columns
from levain.warehouse.dbt import build_lock, not_built, reader, run_dbt

# What the lineage page opens on, with its parents and children; by itself it takes any table. On a phone the list of
# tables would leave no place for the graph.
_QUERY = f"?model=model.levain.{LINEAGE_FIRST}&parents=1&children=1"
_OPEN_FIRST = (
    f"<script>location.search || history.replaceState(null, '', '{_QUERY}'"
    " + (innerWidth < 700 ? '&hideSidebars=true' : ''))</script>"
)
# dbt's page is made for wide screens only; on a phone its first page and the search lead to everything.
_ON_A_PHONE = """<style>@media (max-width: 700px) {
  .app-menu { display: none !important }
  .app, .app-content { min-width: 0 !important; width: 100vw !important; left: 0 !important }
  .app-pad { padding-left: 12px !important; padding-right: 12px !important }
  .panel-body { overflow-x: auto }
}</style>"""


def docs(settings: Settings, *, port: int, serve: bool) -> None:
    """Write dbt's docs and the column lineage below `target/`, and serve them until Ctrl-C.

    Raises:
        LevainError: nothing was built yet, dbt fails, or the port is taken.
    """
    if not settings.duckdb_file.exists():
        raise not_built(settings)
    target = settings.root / "target"
    with reader(settings):
        pass  # says whether what will be described has passed
    with build_lock(settings):
        run_dbt(settings, ["docs", "generate", "--static"], "Writing the docs")
    pages = target / "site"
    pages.mkdir(exist_ok=True)
    _replace((target / "static_index.html").replace(pages / "index.html"), "</head>", f"{_ON_A_PHONE}</head>")
    with errors.status("Tracing columns"):
        _lineage(settings, pages)
    say("docs", str(pages / "index.html"))
    say("lineage", str(pages / "lineage" / "index.html"))
    if serve:
        _serve(pages, port)


def _replace(page: Path, old: str, new: str) -> None:
    """Replace the first of a page's parts that read so."""
    page.write_text(page.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")


def _serve(pages: Path, port: int) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: each page's request is not news."""

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), partial(Quiet, directory=str(pages)))
    except OSError as error:
        raise BadInput(f"Port {port} cannot be used: {error.strerror}.", "Choose another: `--port 0`.") from error
    with server:
        address = f"http://127.0.0.1:{server.server_address[1]}"
        say("serving", f"{address}/ and {address}/lineage/ until Ctrl-C")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("docs", "stopped")


def _lineage(settings: Settings, pages: Path) -> None:
    """Column lineage as one page: that of `levain lineage`, over the SQL of a full refresh."""
    from dbt_colibri.report.generator import DbtColibriReportGenerator

    relations = load_columns(settings).relations
    target, folder = settings.root / "target", pages / "lineage"
    folder.mkdir(exist_ok=True)
    document = json.loads((target / "manifest.json").read_bytes())
    for node in document["nodes"].values():
        if node["resource_type"] == "model":
            node["compiled_code"] = relations[node["name"]].code
    manifest = settings.run_dir / "lineage-manifest.json"
    manifest.write_text(json.dumps(document), encoding="utf-8")
    extractor, untraced = colibri(manifest, target / "catalog.json")
    manifest.unlink()
    DbtColibriReportGenerator(extractor, disable_telemetry=True).generate_report(output_dir=str(folder))
    _replace(folder / "index.html", "<head>", f"<head>{_OPEN_FIRST}")
    if untraced:
        warn(f"The lineage of {len(untraced)} models or columns cannot be traced; the first: {untraced[0]}")
