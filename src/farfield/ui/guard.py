"""Who may look, and where to: only a browser that was given the address, and nowhere outside this machine."""

from __future__ import annotations

import contextlib
import hmac
import os
import sys
import urllib.parse
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final

from farfield.core.error import FarfieldError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

HOME: Final = ("127.0.0.1", "localhost", "::1")
"""This machine."""
PAGES: Final = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'"
"""Of our own pages: a browser is to ask no other machine for anything."""
RUNS: Final = "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; frame-ancestors 'self'"
"""Of a run's files: no script either."""
SHOWN: Final = "/run/"
"""Where a run's files are."""
TOLD: Final = b"farfield: give the whole address that `farfield ui` printed, with its token\n"


class Guard:
    """An ASGI application behind a token: in the first address, and from then on in a cookie.

    A request must also be made to this machine by name (so that no other site's name leads here), and from our own pages.
    """

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], token: str, port: int):
        self.app, self.token = app, token
        self.hosts = {f"{host}:{port}" for host in HOME[:2]}
        self.cookie = f"farfield-{port}"  # cookies do not know ports apart

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        heads = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        host, origin = heads.get("host", ""), heads.get("origin")
        at_home = host in self.hosts and origin in (None, f"http://{host}")
        query = urllib.parse.parse_qs(scope.get("query_string", b"").decode("latin-1"))
        if at_home and self._is(_cookie(heads.get("cookie", ""), self.cookie)):
            return await self.app(scope, receive, _with_policy(send, scope["path"]))
        if at_home and scope["type"] == "http" and self._is(query.get("token", [""])[0]):
            kept = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"
            return await _answer(send, 303, b"", {"location": scope["path"], "set-cookie": kept})
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        return await _answer(send, 403, TOLD, {"content-type": "text/plain"})

    def _is(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.token.encode())


def _cookie(text: str, name: str) -> str:
    try:
        found = SimpleCookie(text).get(name)
    except CookieError:
        return ""
    return found.value if found else ""


async def _answer(send: Send, status: int, body: bytes, heads: dict[str, str]) -> None:
    raw = [(key.encode(), value.encode()) for key, value in heads.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _with_policy(send: Send, path: str) -> Send:
    policy = RUNS if path.startswith(SHOWN) else PAGES
    own = [
        (b"content-security-policy", policy.encode()),
        (b"referrer-policy", b"no-referrer"),
        (b"x-content-type-options", b"nosniff"),
    ]

    async def sent(message: Any) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *own]}
        await send(message)

    return sent


_closed = {"hooked": False, "now": 0}


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """This process speaks with this machine alone while inside: any other address, or its name, is refused.

    Raises:
        FarfieldError: where it is asked for.
    """
    os.environ["HF_HUB_OFFLINE"] = (
        "1"  # read when the hub's client is imported: it says itself what is not in the cache
    )
    if not _closed["hooked"]:
        sys.addaudithook(_refuse)  # which cannot be taken back
        _closed["hooked"] = True
    _closed["now"] += 1
    try:
        yield
    finally:
        _closed["now"] -= 1


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if not _closed["now"] or event not in ("socket.connect", "socket.getaddrinfo"):
        return
    address = arguments[1] if event == "socket.connect" else arguments
    host = address[0] if isinstance(address, tuple) else None  # a socket of this machine has a path
    host = host.decode(errors="replace") if isinstance(host, bytes) else host
    if host and host not in HOME:
        raise FarfieldError(
            f"{host}: nothing leaves the machine from a page; bring it here with `farfield fetch` or `hf download` before"
        )
