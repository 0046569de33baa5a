"""Channels between two devices, as Firefox Sync had them for J-PAKE.

The devices agree on a key by sending each other three messages. The server keeps one
message of each channel, lets two clients in, and forgets the channel soon.
"""

import hashlib
import logging
import re
import secrets
import string
import threading
import time

from redbarrel_lite import Response, exc

log = logging.getLogger("keyexchange")

MAX_CHANNELS = 10_000  # of 36 ** 4 names: a free one is found soon
_LETTERS = string.ascii_lowercase + string.digits
_CLIENT_ID = re.compile(r"[a-zA-Z0-9]{256}")


def is_client_id(value):
    """A random name of 256 characters, which each client makes for itself."""
    return _CLIENT_ID.fullmatch(value) is not None


class Channel:
    def __init__(self, owner, expires):
        self.clients = {owner}
        self.expires = expires
        self.gets = 0
        self.message = None
        self.etag = ""


class Channels:
    """All channels. Services run in threads, so whoever works with one takes the lock."""

    def __init__(self, globs, clock=time.monotonic):
        self.lock = threading.Lock()
        self._ttl = globs["ttl"]
        self._max_gets = globs["max_gets"]
        self._clock = clock
        self._channels = {}  # the oldest first, as all live equally long

    def __len__(self):
        return len(self._channels)

    def open(self, client):
        """The id of a new channel."""
        self._forget_old()
        if len(self._channels) >= MAX_CHANNELS:
            raise exc.HTTPServiceUnavailable("too many channels", {"retry-after": str(self._ttl)})
        while True:
            cid = "".join(secrets.choice(_LETTERS) for _ in range(4))
            if cid not in self._channels:
                self._channels[cid] = Channel(client, self._clock() + self._ttl)
                return cid

    def enter(self, cid, client):
        """The channel, for one of its two clients."""
        self._forget_old()
        channel = self._channels.get(cid)
        if channel is None:
            raise exc.HTTPNotFound("no such channel")
        if client not in channel.clients:
            if len(channel.clients) == 2:
                # A third one has guessed the name: better no channel than this one.
                self.close(cid)
                raise exc.HTTPBadRequest("this channel belongs to two others")
            channel.clients.add(client)
        return channel

    def count_get(self, cid, channel):
        """A channel may be read so many times: who guesses a key must not have many tries."""
        channel.gets += 1
        if channel.gets >= self._max_gets:
            self.close(cid)

    def close(self, cid):
        self._channels.pop(cid, None)

    def _forget_old(self):
        now = self._clock()
        for cid, channel in list(self._channels.items()):
            if channel.expires > now:
                break
            del self._channels[cid]


def new_channel(globs, request):
    channels = globs["channels"]
    with channels.lock:
        cid = channels.open(_client(request))
    return Response(f'"{cid}"', content_type="application/json")


def get(globs, request, channel):
    channels = globs["channels"]
    with channels.lock:
        found = channels.enter(channel, _client(request))
        if request.headers.get("if-none-match") == (found.etag or '""'):
            return Response(status=304, headers={"etag": found.etag or '""'})
        channels.count_get(channel, found)
        return _answer(found, found.message or b"null")


def put(globs, request, channel):
    channels = globs["channels"]
    with channels.lock:
        found = channels.enter(channel, _client(request))
        wanted = request.headers.get("if-match", found.etag)
        nothing = request.headers.get("if-none-match") == "*"
        if wanted not in (found.etag, "*") or (nothing and found.etag):
            raise exc.HTTPPreconditionFailed("there is another message by now")
        found.message = request.body
        found.etag = f'"{hashlib.sha256(request.body).hexdigest()[:32]}"'
        return _answer(found, b"")


def report(globs, request):
    # repr: a line break in it must not make a line of the log that we never wrote.
    log.warning("%r reports: %r", _client(request)[:8], request.body.decode("utf-8", "replace"))
    channels = globs["channels"]
    cid = request.headers.get("x-keyexchange-cid", "")
    with channels.lock:
        if cid:
            channels.enter(cid, _client(request))  # only one of its two may close it
            channels.close(cid)
    return {}


def _client(request):
    return request.headers["x-keyexchange-id"]


def _answer(channel, body):
    return Response(
        body,
        headers={"etag": channel.etag or '""', "cache-control": "no-store"},
        content_type="application/json",
    )
