"""A small stand-in for wandb's server: the four GraphQL operations that a sweep with offline runs needs."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

KEY = "0123456789" * 4


class Server(ThreadingHTTPServer):
    """Hands out the values of a grid's only parameter, each once, as soon as min_agents have come."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.sweep: dict[str, Any] = {}
        self.waiting: list[Any] = []
        self.handed_out: list[tuple[str, Any]] = []
        self.n_agents = 0
        self.min_agents = 1
        self.operations: list[str] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The data of a GraphQL answer."""
        with self.lock:
            self.operations.append(operation)
            return getattr(self, f"_{operation.lower()}")(variables)

    def _viewer(self, variables: dict[str, Any]) -> dict[str, Any]:
        viewer = {"id": "u", "username": "user", "entity": "team", "email": "", "admin": False, "flags": "{}"}
        viewer |= {"teams": {"edges": []}, "apiKeys": {"edges": []}, "name": "user", "deletedAt": None}
        server = {"cliVersionInfo": {"max_cli_version": "9.9"}, "latestLocalVersionInfo": None, "features": []}
        return {"viewer": viewer, "serverInfo": server}

    def _upsertsweep(self, variables: dict[str, Any]) -> dict[str, Any]:
        self.sweep = yaml.safe_load(variables["config"])
        ((self.key, parameter),) = self.sweep["parameters"].items()
        self.waiting = list(parameter["values"])
        project = {"id": "p", "name": variables.get("projectName") or "mfcvae", "entity": {"id": "e", "name": "team"}}
        return {"upsertSweep": {"sweep": {"name": "swp1", "project": project}, "configValidationWarnings": []}}

    def _createagent(self, variables: dict[str, Any]) -> dict[str, Any]:
        if variables["sweep"] != "swp1":
            raise LookupError(f"sweep {variables['sweep']} was not found")
        self.n_agents += 1
        return {"createAgent": {"agent": {"id": f"agent{self.n_agents}"}}}

    def _heartbeat(self, variables: dict[str, Any]) -> dict[str, Any]:
        commands: list[dict[str, Any]] = []
        if self.n_agents >= self.min_agents and not json.loads(variables["runState"]):
            if self.waiting:
                value = self.waiting.pop(0)
                run_id = f"run{len(self.handed_out)}"
                self.handed_out.append((variables["id"], value))
                commands = [{"type": "run", "run_id": run_id, "args": {self.key: {"value": value}}}]
            else:
                commands = [{"type": "exit"}]
        return {"agentHeartbeat": {"agent": {"id": variables["id"]}, "commands": json.dumps(commands)}}


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/graphql":  # the client's own usage statistics
            return self._send(404, {})
        body = json.loads(content)
        user_and_key = base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode()
        if not user_and_key.endswith(f":{KEY}"):
            return self._send(401, {"errors": [{"message": "user is not logged in"}]})
        operation = body["query"].split("(")[0].split("{")[0].split()[-1]
        try:
            return self._send(200, {"data": self.server.answer(operation, body.get("variables") or {})})
        except (AttributeError, LookupError) as error:
            return self._send(404, {"errors": [{"message": str(error)}]})

    def _send(self, status: int, content: dict[str, Any]) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[Server]:
    """A running server on a free port of this machine."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
