"""The live page: the report of a study over HTTP, on this machine only, changing as the study runs."""

from __future__ import annotations

import secrets
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import urlsplit

from results.errors import ResultsError
from results.places import Place
from results.report.build import build
from results.report.latest import Edition, Latest
from results.report.page import Page, document, page_of, parts

ADDRESS = "127.0.0.1"
_NAMES = {"127.0.0.1", "localhost"}
_JSON = "application/json"
_HTML = "text/html"
_TEXT = "text/plain"


class LiveServer(ThreadingHTTPServer):
    """Serves the page of one study at ``/``, and what a live page asks for at ``/page.json``; nothing else.

    It only reads. It answers requests that name this machine: a page from elsewhere that has its own name point here
    (DNS rebinding) is refused.

    Example:
        >>> LiveServer(place("runs/digits-beta"), port=0).serve_forever()  # doctest: +SKIP
    """

    daemon_threads = True

    def __init__(self, study_dir: Place, *, port: int, command: str = "thermotune") -> None:
        """Opens the port; nothing is read yet.

        Args:
            study_dir: Folder of the study.
            port: Port on 127.0.0.1; 0 for any that is free.
            command: What the printed commands begin with.

        Raises:
            OSError: The port is taken, or not allowed.
        """
        super().__init__((ADDRESS, port), _Handler)
        self.latest: Latest[Page] = Latest(study_dir, lambda: page_of(build(study_dir, command=command)))
        self.token = secrets.token_hex(4)

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{ADDRESS}:{self.server_port}/"

    def tag(self, edition: Edition[Page]) -> str:
        """The entity tag of an edition; another server, even at the same port, has others."""
        return f'"{self.token}-{edition.number}"'

    def handle_error(self, request: Any, client_address: Any) -> None:  # Any: as in the base class
        """Says what went wrong; a browser that went away is nothing of that kind."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: LiveServer
    timeout = 10  # seconds for a request to come in, and for an answer to be taken
    server_version = "thermotune"
    sys_version = ""

    _guards: ClassVar = {
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Content-Security-Policy": "frame-ancestors 'none'",
    }

    def do_GET(self) -> None:
        """The page, its parts as JSON, or a refusal."""
        if urlsplit(f"//{self.headers.get('Host', '')}").hostname not in _NAMES:
            self._answer(HTTPStatus.FORBIDDEN, _TEXT, f"this page is only for {' and '.join(sorted(_NAMES))}")
            return
        path = urlsplit(self.path).path
        if path not in ("/", "/page.json"):
            self._answer(HTTPStatus.NOT_FOUND, _TEXT, "there is only / here")
            return
        try:
            edition = self.server.latest.get()
        except (ResultsError, OSError) as error:  # the next request may find the study readable again
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, str(error))
            return
        tag = self.server.tag(edition)
        if path == "/":
            self._answer(HTTPStatus.OK, _HTML, document(edition.answer, live=True))
        elif self.headers.get("If-None-Match") == tag:
            self._answer(HTTPStatus.NOT_MODIFIED, _JSON, "", tag)
        else:
            self._answer(HTTPStatus.OK, _JSON, parts(edition.answer), tag)

    def _answer(self, status: HTTPStatus, kind: str, text: str, tag: str | None = None) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in self._guards.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        if tag is not None:
            self.send_header("ETag", tag)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: a page that asks every two seconds would fill the terminal."""
