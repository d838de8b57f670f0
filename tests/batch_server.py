"""A server of files and batches on 127.0.0.1, for tests: it answers, fails and expires as told."""

from __future__ import annotations

import datetime
import json
import re
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.fault_server import completion

Fields = dict[str, Any]


class BatchFake:
    """Batches end after `polls` looks at them.

    `answer` turns the body of a request into a line's `response` or `error`, or None for a request
    that the batch lost. `before` is called with method and path and may wait, or return a status.
    """

    def __init__(
        self,
        answer: Callable[[Fields], Fields | None] | None = None,
        *,
        polls: int = 1,
        status: str = "completed",
        before: Callable[[str, str], int | None] = lambda method, path: None,
        after: Callable[[str, str], None] = lambda method, path: None,
    ) -> None:
        self.answer = answer or (lambda body: ok(f"re: {body['messages'][-1]['content']}"))
        self.polls, self.status, self.before, self.after = polls, status, before, after
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, Fields] = {}
        self.asked: Counter[str] = Counter()
        """How often each request was in a batch that was made, by custom_id."""
        self.looks: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __enter__(self) -> BatchFake:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.handle(self, "GET")

            def do_POST(self) -> None:
                fake.handle(self, "POST")

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def handle(self, http: BaseHTTPRequestHandler, method: str) -> None:
        path = http.path.removeprefix("/v1/")
        body = http.rfile.read(int(http.headers.get("Content-Length") or 0))
        status = self.before(method, path)
        with self._lock:
            found = None if status else self._route(method, path, body)
        self.after(method, path)
        payload = found if isinstance(found, bytes) else json.dumps(found or {"error": {}}).encode()
        try:
            http.send_response(status or (404 if found is None else 200))
            http.send_header("Content-Length", str(len(payload)))
            http.end_headers()
            http.wfile.write(payload)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client was killed

    def _route(self, method: str, path: str, body: bytes) -> Fields | bytes | None:
        page, _, query = path.partition("?")
        if (method, page) == ("POST", "files"):
            name = f"file-{len(self.files)}"
            self.files[name] = body.split(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0]
            return {"id": name}
        if (method, page) == ("POST", "batches"):
            return self._make(json.loads(body))
        if page == "batches":
            rows = list(self.batches.values())
            after = re.search(r"after=(\S+)", query)
            start = [r["id"] for r in rows].index(after[1]) + 1 if after else 0
            return {"data": rows[start : start + 2], "has_more": len(rows) > start + 2}
        if page.startswith("batches/"):
            return self._look(page.removeprefix("batches/"))
        name = page.removeprefix("files/").removesuffix("/content")
        return self.files.get(name)

    def _make(self, fields: Fields) -> Fields:
        name = f"batch-{len(self.batches)}"
        self.asked.update(line["custom_id"] for line in self._input(fields))
        self.batches[name] = {**fields, "id": name, "status": "in_progress", "created_at": 1}
        return self.batches[name]

    def _input(self, batch: Fields) -> list[Fields]:
        return [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]

    def _look(self, name: str) -> Fields:
        batch = self.batches[name]
        self.looks[name] += 1
        if self.looks[name] >= self.polls and batch["status"] == "in_progress":
            lines = [(line, self.answer(line["body"])) for line in self._input(batch)]
            made = [{"custom_id": line["custom_id"], **said} for line, said in lines if said]
            good = [line for line in made if (line.get("response") or {}).get("status_code") == 200]
            for kind, rows in (("output", good), ("error", [x for x in made if x not in good])):
                if rows:
                    file = f"{name}-{kind}"
                    self.files[file] = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
                    batch[f"{kind}_file_id"] = file
            batch["status"] = self.status
        return batch


class MessageBatchFake(BatchFake):
    """The same with Anthropic's batches: no files, no metadata, results once a batch has ended.

    `answer` gives a `result`, or None for a request that the batch lost.
    """

    def __init__(self, answer: Callable[[Fields], Fields | None] | None = None, **options: Any):
        super().__init__(answer or (lambda body: said(f"re: {last(body)}")), **options)
        self.requests: dict[str, list[Fields]] = {}

    def add(self, requests: list[Fields]) -> Fields:
        """A new batch."""
        name = f"msgbatch_{len(self.batches)}"
        self.requests[name] = requests
        counts = {"processing": len(requests), "succeeded": 0}
        date = datetime.datetime.now(datetime.timezone.utc).isoformat()
        self.batches[name] = {
            "id": name,
            "type": "message_batch",
            "created_at": date,
            "processing_status": "in_progress",
            "request_counts": counts,
        }
        return self.batches[name]

    def _route(self, method: str, path: str, body: bytes) -> Fields | bytes | None:
        page, _, query = path.partition("?")
        page = page.removeprefix("messages/")
        if (method, page) == ("POST", "batches"):
            requests = json.loads(body)["requests"]
            self.asked.update(row["custom_id"] for row in requests)
            return self.add(requests)
        if page == "batches":
            rows = [self._look(name) for name in reversed(self.batches)]
            after = re.search(r"after_id=(\S+)", query)
            start = [r["id"] for r in rows].index(after[1]) + 1 if after else 0
            part = rows[start : start + 2]
            more = len(rows) > start + 2
            return {"data": part, "has_more": more, "last_id": part[-1]["id"] if part else None}
        name = page.removeprefix("batches/")
        if name.endswith("/results"):
            return self.files.get(name)
        return self._look(name) if name in self.batches else None

    def _look(self, name: str) -> Fields:
        batch = self.batches[name]
        self.looks[name] += 1
        if self.looks[name] >= self.polls and batch["processing_status"] == "in_progress":
            made = [(row["custom_id"], self.answer(row["params"])) for row in self.requests[name]]
            rows = [{"custom_id": key, "result": result} for key, result in made if result]
            text = b"".join(json.dumps(row).encode() + b"\n" for row in reversed(rows))
            self.files[f"{name}/results"] = text
            counts = {"processing": 0, "succeeded": len(made)}
            batch |= {"processing_status": "ended", "request_counts": counts,
                      "ended_at": batch["created_at"]}  # fmt: skip
        return batch


def last(body: Fields) -> str:
    """What was asked last."""
    return str(body["messages"][-1]["content"])


def said(content: str) -> Fields:
    """A message that was answered."""
    message = {
        "model": "real-model",
        "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": content}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 7, "output_tokens": 9},
    }
    return {"type": "succeeded", "message": message}


def ok(content: str) -> Fields:
    """An answered request."""
    return {"response": {"status_code": 200, "body": completion(content)}, "error": None}
