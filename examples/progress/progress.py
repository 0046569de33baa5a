"""A long job, started over HTTP, and a room of sockets that hear how far it is.

The job draws a part of the Mandelbrot set, in plain Python, line by line. It has a
thread of its own: the threads in which services run are for answers, not for work.
"""

import secrets
import struct
import threading
import zlib

from redbarrel_lite import Response, exc

WIDTH, HEIGHT = 600, 400
MAX_WORKING, MAX_KEPT = 2, 20
# The middle and the width of what is drawn, how many steps a point is followed, and after how
# many it is brightest.
PLACES = {
    "all": (-0.65 + 0j, 3.3, 120, 33),
    "seahorses": (-0.7436 + 0.1318j, 0.012, 300, 130),
    "spiral": (-0.7269 + 0.1889j, 0.014, 250, 115),
}


class Job:
    """One picture. ``state`` is "working", then "done" or "cancelled"."""

    def __init__(self, place, tell):
        self.id = secrets.token_urlsafe(6)
        self.place = place
        self.state = "working"
        self.png = b""
        self._lines = 0
        self._tell = tell

    def told(self):
        """What the page gets to know."""
        return {"job": self.id, "place": self.place, "state": self.state,
                "percent": 100 * self._lines // HEIGHT}  # fmt: skip

    def work(self):
        lines, before = [], 0
        while self._lines < HEIGHT and self.state == "working":
            lines.append(line(self._lines, *PLACES[self.place]))
            self._lines += 1
            if self.told()["percent"] > before:
                before = self.told()["percent"]
                self._tell(self)
        if self.state == "working":
            self.png = png(lines)
            self.state = "done"
        self._tell(self)


class Jobs:
    """The last jobs, by their ids."""

    def __init__(self):
        self._jobs = {}
        self._lock = threading.Lock()

    def start(self, place, tell):
        with self._lock:
            working = [job for job in self._jobs.values() if job.state == "working"]
            if len(working) >= MAX_WORKING:
                raise exc.HTTPServiceUnavailable("too much to do", {"retry-after": "10"})
            job = Job(place, tell)
            self._jobs[job.id] = job
            if len(self._jobs) > MAX_KEPT:
                del self._jobs[next(iter(self._jobs))]  # the oldest
        threading.Thread(target=job.work, daemon=True).start()
        return job

    def get(self, job_id):
        return self._jobs.get(job_id)

    def find(self, job_id):
        job = self.get(job_id)
        if job is None:
            raise exc.HTTPNotFound("no such job")
        return job


# -- services ------------------------------------------------------------------------------


def start(globs, request):
    place = request.json.get("place") if isinstance(request.json, dict) else None
    if not isinstance(place, str) or place not in PLACES:
        raise exc.HTTPBadRequest(f"a place is one of {', '.join(PLACES)}")

    def tell(job):
        """From the thread of the job to all sockets in its room."""
        request.server.emit("progress", job.told(), room=job.id)

    job = globs["jobs"].start(place, tell)
    request.response.status = 202
    return job.told()


def picture(globs, request, job):
    found = globs["jobs"].find(job)
    if not found.png:
        raise exc.HTTPNotFound("not yet")
    return Response(found.png, headers={"cache-control": "max-age=86400"}, content_type="image/png")


def cancel(globs, request, job):
    found = globs["jobs"].find(job)
    if found.state == "working":
        found.state = "cancelled"  # it looks at it after each line
    return found.told()


async def watch(globs, request, job_id):
    """Whoever knows the id of a job may watch it: how far it is now, and then each step."""
    job = globs["jobs"].get(job_id) if isinstance(job_id, str) else None
    if job is None:
        return None
    for room in request.socketio.rooms:
        request.socketio.leave(room)
    request.socketio.join(job_id)
    return job.told()  # the acknowledgement


# -- the work ------------------------------------------------------------------------------


def line(y, middle, width, limit, bright):
    """A line of pixels, three bytes each."""
    pixels = bytearray()
    for x in range(WIDTH):
        c = middle + width / WIDTH * complex(x - WIDTH / 2, y - HEIGHT / 2)
        found = steps(c, limit)
        pixels += colour(min(1, (found + 2) / bright)) if found < limit else b"\x14\x11\x0f"
    return bytes(pixels)


def steps(c, limit):
    """How often z = z * z + c can be done before z flies off; limit if it does not."""
    z = c
    for step in range(limit):
        if z.real * z.real + z.imag * z.imag > 4:
            return step
        z = z * z + c
    return limit


def colour(part):
    """From night over red and amber to light."""
    glow = part**0.5
    return bytes((int(255 * min(1, glow * 1.25)), int(245 * glow**2.2), int(225 * glow**5)))


def png(lines):
    """A picture of these lines, in the form of PNG (RFC 2083)."""

    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)  # 8 bits, of red, green and blue
    packed = zlib.compress(b"".join(b"\0" + line for line in lines))  # 0: each line as it is
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts
