"""A stand-in for Qdrant's server: its REST, as far as we use it, before the very store that qdrant-client has in memory.

What is searched, filtered and kept is qdrant-client's; paths and forms are those of Qdrant's own OpenAPI description.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from qdrant_client import QdrantClient, models


@dataclass
class Server:
    """What it was asked, and what it has. `raw`: instead of any answer, this one; `elsewhere`: where that sends to, if it does."""

    address: str
    client: QdrantClient = field(default_factory=lambda: QdrantClient(":memory:"))
    asked: list[tuple[str, str, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    raw: tuple[int, bytes] | None = None
    elsewhere: str = "http://127.0.0.1:9/"

    @property
    def collections(self) -> list[str]:
        return [each.name for each in self.client.get_collections().collections]

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
        if self.raw is not None:
            return self.raw
        match = re.fullmatch(r"/collections/([^/?]+)(/[a-z/]+)?(\?.*)?", path)
        assert match is not None, path
        name, what = match[1], match[2] or ""
        if what not in ("/exists", "") and not self.client.collection_exists(name):
            return 404, json.dumps({"status": {"error": f"Not found: Collection `{name}` doesn't exist!"}, "time": 0.0}).encode()
        return 200, json.dumps({"result": self._result(method, name, what, body), "status": "ok", "time": 0.0}).encode()

    def _result(self, method: str, name: str, what: str, body: dict[str, Any]) -> Any:
        client, done = self.client, {"operation_id": 1, "status": "completed"}
        if (method, what) == ("GET", "/exists"):
            return {"exists": client.collection_exists(name)}
        if (method, what) == ("PUT", ""):
            return client.create_collection(name, vectors_config=models.VectorParams(**body["vectors"]))
        if (method, what) == ("DELETE", ""):
            return client.delete_collection(name)
        if (method, what) == ("PUT", "/index"):
            assert body == {"field_name": "document", "field_schema": "integer"}
        elif (method, what) == ("PUT", "/points"):
            client.upsert(name, models.Batch(**body["batch"]))
        elif (method, what) == ("POST", "/points/delete"):
            client.delete(name, body["points"])
        elif (method, what) == ("POST", "/points/scroll"):
            points, following = client.scroll(name, limit=body["limit"], offset=body.get("offset"), with_payload=False)
            return {"points": [{"id": point.id} for point in points], "next_page_offset": following}
        else:
            assert (method, what) == ("POST", "/points/query")
            only = models.Filter(**body["filter"]) if body.get("filter") else None
            found = client.query_points(name, body["query"]["nearest"], query_filter=only, limit=body["limit"]).points
            return {"points": [{"id": point.id, "version": 1, "score": point.score} for point in found]}
        return done


@contextmanager
def serving() -> Iterator[Server]:
    """One, on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
            server.asked.append((self.command, self.path, dict(self.headers), body))
            status, data = server.answer(self.command, self.path, body)
            self.send_response(status)
            if status == 302:
                self.send_header("Location", server.elsewhere)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def __getattr__(self, name: str) -> Any:
            if name in ("do_GET", "do_PUT", "do_DELETE"):
                return self.do_POST
            raise AttributeError(name)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        server = Server(f"qdrant://127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
            server.client.close()
