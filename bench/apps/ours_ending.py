"""Requests that are in flight when the server is told to end, and sockets."""

import asyncio
import sys
import threading

told, told_in_thread = asyncio.Event(), threading.Event()


def _asked():
    sys.stderr.write("asked\n")


async def left(globs, request, reason):
    told.set()
    told_in_thread.set()


async def soon(request):
    _asked()
    await told.wait()
    return "soon"


def soon_in_thread(request):
    _asked()
    told_in_thread.wait()
    return "soon"
