"""A proxy on loopback that does to HTTP requests what networks and bad gateways do."""

import asyncio
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from typing import Self

LATE_SECONDS = 1.5


class Fault(StrEnum):
    """What happens to one request."""

    NONE = "passed on"
    DELAY = "delayed"
    REFUSED = "reset before it was sent"
    LOST = "answer lost"
    HALF = "half an answer"
    TWICE = "sent twice"
    LATE = "answer lost, then sent again later"
    PAGE = "a web page with status 200"
    BUSY = "429 with Retry-After"
    DOWN = "503 with a web page"


PAGE = b"<html><body>Please log in</body></html>"


def answer(status: str, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Content-Type: text/html", "Connection: close", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(PAGE)}", "", ""]).encode() + PAGE


ANSWERS = {
    Fault.PAGE: answer("200 OK"),
    Fault.BUSY: answer("429 Too Many Requests", "Retry-After: 2"),
    Fault.DOWN: answer("503 Service Unavailable"),
}


class FaultyProxy:
    """Forwards to `upstream` on loopback; `choose` picks the fault for each request line.

    Attributes:
        uri: where it listens.
        counts: what it did, by fault.
    """

    def __init__(self, upstream: int, choose: Callable[[str], Fault]) -> None:
        self.choose = choose
        self.counts: Counter[Fault] = Counter()
        self._upstream = upstream
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._loop = asyncio.new_event_loop()
        self._late: set[asyncio.Task[bytes]] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, sock=self._socket)
        )
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await _read(reader)
            fault = self.choose(request.split(b"\r\n", 1)[0].decode(errors="replace"))
            self.counts[fault] += 1
            content = await self._meet(fault, request)
        except (OSError, EOFError):  # the server is dead, or the client has gone
            content = None
        try:
            if content is None:
                linger = struct.pack("ii", 1, 0)  # close with a reset
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, linger
                )
                writer.transport.abort()
            else:
                writer.write(content)
                await writer.drain()
                writer.close()
        except OSError:
            pass

    async def _meet(self, fault: Fault, request: bytes) -> bytes | None:
        """The client's answer; None for a reset."""
        match fault:
            case Fault.REFUSED:
                return None
            case Fault.PAGE | Fault.BUSY | Fault.DOWN:
                return ANSWERS[fault]
            case Fault.DELAY:
                await asyncio.sleep(LATE_SECONDS / 2)
            case Fault.TWICE:
                await self._forward(request)
            case _:
                pass
        content = await self._forward(request)
        match fault:
            case Fault.LATE:
                task = self._loop.create_task(self._again(request))
                self._late.add(task)
                task.add_done_callback(self._late.discard)
                return None
            case Fault.LOST:
                return None
            case Fault.HALF:
                return content[: len(content) // 2]
            case _:
                return content

    async def _again(self, request: bytes) -> bytes:
        await asyncio.sleep(LATE_SECONDS)
        with suppress(OSError):
            return await self._forward(request)
        return b""

    async def _forward(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        try:
            writer.write(request)
            await writer.drain()
            content = await reader.read()
        finally:
            writer.close()
        if not content:
            raise EOFError
        return content


async def _read(reader: asyncio.StreamReader) -> bytes:
    """One whole request, changed to be the only one on its connection."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if line]
    fields = {key.lower(): value for key, _, value in (line.partition(b":") for line in lines)}
    body = await reader.readexactly(int(fields.get(b"content-length", b"0")))
    kept = [line for line in lines if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*kept, b"Connection: close", b"", b""]) + body
