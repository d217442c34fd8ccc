"""A server of chat completions on this machine that misbehaves as a test asks, and logs its requests."""

import asyncio
import json
import threading
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlsplit

MODEL = "tiny-chat"


@dataclass
class Reply:
    """What the server sends for one request.

    Args:
        body: JSON value, or the bytes themselves.
        status: HTTP status; 0 drops the connection without an answer.
        headers: further headers.
        seconds: until it is sent.
        share: of the body that is sent before the connection is dropped.
        paid: whether a provider would charge for it: the model has generated; None for every success.
    """

    body: object
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    share: float = 1.0
    paid: bool | None = None


def answer(text, **changes):
    """The body of a chat completion; a change of None removes the field."""
    message = {"role": "assistant", "content": text} | changes.pop("message", {})
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": MODEL,
        "system_fingerprint": "fp_1",
        "choices": [{"index": 0, "message": message, "finish_reason": changes.pop("finish_reason", "stop")}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25},
    }
    return {name: value for name, value in (body | changes).items() if value is not None}


def error(status, message, code=None, headers=None):
    body = {"error": {"message": message, "type": "error", "code": code}}
    return Reply(body, status, headers or {})


def well(prompt, number):
    """Behave: every prompt is answered at once."""
    return Reply(answer(f"answer to {prompt}"))


def once(fault):
    """Misbehave at the first request for each prompt, and then behave.

    Args:
        fault: a reply, or a function from the prompt to one.
    """

    def behave(prompt, number):
        if number > 1:
            return well(prompt, number)
        return fault(prompt) if callable(fault) else fault

    return behave


def always(fault):
    return lambda prompt, number: fault(prompt) if callable(fault) else fault


class MisbehavingServer:
    """Serves in a thread while its block is open.

    Args:
        behave: from a prompt, and how often it was asked for, to a `Reply`.
        models: that it lists.
        tls: the context of an encrypted server; None serves plain HTTP.
    """

    def __init__(self, behave=well, models=(MODEL,), tls=None):
        self.behave = behave
        self.tls = tls
        self.models = models
        self.asked = []  # the prompt of each request, in order
        self.bodies = []
        self.headers = []
        self.paid = Counter()  # by prompt, the requests that a provider would charge for
        self.in_flight = 0
        self.most_in_flight = 0
        self._seen = Counter()

    def __enter__(self):
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(20)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)

    @property
    def url(self):
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}/v1"

    def forget(self):
        """Start the logs from scratch; how often prompts were asked for is not forgotten."""
        self.asked, self.bodies, self.headers, self.paid = [], [], [], Counter()

    def _run(self, ready):
        asyncio.set_event_loop(self._loop)
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024, ssl=self.tls)
        server = self._loop.run_until_complete(starting)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.01))
        self._loop.close()

    async def _serve(self, reader, writer):
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _one(self, reader, writer):
        """Answer one request; return whether the connection stays open."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        target = urlsplit(target).path  # a proxy is asked for whole addresses
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        content = await reader.readexactly(int(headers.get("content-length", "0")))
        if method == "GET":
            reply = Reply({"object": "list", "data": [{"id": name} for name in self.models]})
            return await self._send(writer, reply if target == "/v1/models" else Reply("not found", 404))
        if target not in ("/v1/chat/completions", "/v1/completions"):
            return await self._send(writer, Reply({"detail": "Not Found"}, 404))
        body = json.loads(content)
        prompt = body["messages"][-1]["content"] if "messages" in body else str(body["prompt"])
        self._seen[prompt] += 1
        self.asked.append(prompt)
        self.bodies.append(body)
        self.headers.append(headers)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            reply = self.behave(prompt, self._seen[prompt])
            self.paid[prompt] += reply.status == 200 if reply.paid is None else reply.paid
            if reply.seconds:
                await asyncio.sleep(reply.seconds)
            return await self._send(writer, reply)
        finally:
            self.in_flight -= 1

    async def _send(self, writer, reply):
        if reply.status == 0:
            writer.transport.abort()
            return False
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        lines = [f"HTTP/1.1 {reply.status} X", "content-type: application/json", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body[: int(len(body) * reply.share)])
        await writer.drain()
        return reply.share == 1.0
