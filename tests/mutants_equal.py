"""The mutants of `mutate.py` that no test can tell from the room that they alter, and why."""

from __future__ import annotations

from typing import Final

# Room, line and alteration: why no test can tell it from the room.
EQUAL: Final = {
    ("http1", "return False", "returns None"): "either is no",
    ("http1_reader", "return False", "returns None"): "either is no",
    ("http1_reader", "return -1", "1 -> 2"): "any number below 0 is no place",
    (
        "http1_reader",
        "self._searched = 0  # how far the buffer is known to hold no end of that line",
        "0 -> -1",
    ): "a buffer has nothing before 0",
    ("http1_reader", "self._searched = 0", "0 -> -1"): "a buffer has nothing before 0",
    (
        "http1_reader",
        "self._left = 0  # bytes of content, or of the chunk, still to come",
        "gone: self._left = 0",
    ): "not read before content comes, which sets it",
    (
        "http1_reader",
        "self._left = 0  # bytes of content, or of the chunk, still to come",
        "0 -> 1",
    ): "the same",
    (
        "http1_reader",
        "self._left = 0  # bytes of content, or of the chunk, still to come",
        "0 -> -1",
    ): "the same",
    (
        "http1_reader",
        "self._trailer_bytes = 0  # of the trailers that have come",
        "gone: self._trailer_bytes = 0",
    ): "not read before the last chunk, which sets it",
    (
        "http1_reader",
        "self._trailer_bytes = 0  # of the trailers that have come",
        "0 -> 1",
    ): "the same",
    (
        "http1_reader",
        "self._trailer_bytes = 0  # of the trailers that have come",
        "0 -> -1",
    ): "the same",
    (
        "http1_reader",
        'end = buffer.find(b"\\r\\n\\r\\n", 0, self._short)',
        "0 -> 1",
    ): "the long way does the same",
    ("http1_reader", 'end = buffer.find(b"\\r\\n\\r\\n", 0, self._short)', "0 -> -1"): "the same",
    (
        "http1_reader",
        'if end >= 0 and buffer.count(b"\\n", 0, end) <= self._limits.fields:',
        "end >= 0 -> end > 0",
    ): "the long way does the same",
    (
        "http1_reader",
        'if end >= 0 and buffer.count(b"\\n", 0, end) <= self._limits.fields:',
        "buffer.count(b'\\n', 0, end) <= self._limits.fields"
        " -> buffer.count(b'\\n', 0, end) < self._limits.fields",
    ): "the same",
    (
        "http1_reader",
        'if end >= 0 and buffer.count(b"\\n", 0, end) <= self._limits.fields:',
        "0 -> 1",
    ): "the same",
    (
        "http1_reader",
        "return self._check_lines() if buffer else -1",
        "1 -> 2",
    ): "any number below 0 is no place",
    (
        "http1_reader",
        'if start and buffer.count(b"\\n", 0, start) > self._limits.fields:',
        "0 -> 1",
    ): "no head starts with a line feed",
    (
        "http1_reader",
        "self._searched = len(buffer)",
        "gone: self._searched = len(buffer)",
    ): "it costs time alone",
    ("http1_reader", "self._searched = end", "gone: self._searched = end"): "it costs time alone",
    (
        "http1_reader",
        'if buffer[end : end + 2] == b"\\r":  # and there this segment ends',
        "2 -> 3",
    ): "a CR is one byte",
    (
        "http1_reader",
        "if not whole or start - taken > MAX_CHUNK_LINE_BYTES + 2:",
        "start - taken > MAX_CHUNK_LINE_BYTES + 2 -> start - taken >= MAX_CHUNK_LINE_BYTES + 2",
    ): "the long way does the same",
    (
        "http1_reader",
        "if not whole or start - taken > MAX_CHUNK_LINE_BYTES + 2:",
        "MAX_CHUNK_LINE_BYTES + 2 -> MAX_CHUNK_LINE_BYTES - 2",
    ): "the same",
    (
        "http1_reader",
        "if not whole or start - taken > MAX_CHUNK_LINE_BYTES + 2:",
        "2 -> 1",
    ): "the same",
    (
        "http1_reader",
        'if not b"\\r\\n".startswith(end):',
        "b'\\r\\n' -> b'\\r\\nX'",
    ): "it has two bytes at most",
    ("http1", "MAX_REMEMBERED_BYTES: Final = 2048", "2048 -> 2049"): "it costs memory alone",
    ("http1", "MAX_REMEMBERED_BYTES: Final = 2048", "2048 -> 2047"): "it costs time alone",
    (
        "http1",
        "self._again: tuple[bytes | None, Request, bool] = None, _NOT_UNDERSTOOD, False",
        "False -> True",
    ): "no bytes are None",
    (
        "http1",
        'self._told = _Told(0, [], "", has_ours=False)',
        "'' -> 'X'",
    ): "no answer has status 0",
    ("http1", 'self._told = _Told(0, [], "", has_ours=False)', "False -> True"): "the same",
    ("http1", "if end < 0:", "end < 0 -> end <= 0"): "no head is empty",
    ("http1", "if end < 0:", "0 -> 1"): "the same",
    (
        "http1",
        "if len(fields) <= MAX_REMEMBERED_BYTES:",
        "len(fields) <= MAX_REMEMBERED_BYTES -> len(fields) < MAX_REMEMBERED_BYTES",
    ): "it costs time alone",
    ("http1", "self._said = said", "gone: self._said = said"): "it costs time alone",
    (
        "http1",
        'is_usual = self.keep_alive and request.version == "1.1"  # it has no Connection field',
        "'1.1' -> '1.1X'",
    ): "it costs time alone",
    (
        "http1",
        "self._told.keep(length, head)",
        "gone: self._told.keep(length, head)",
    ): "it costs time alone",
    (
        "http1",
        '_NOT_UNDERSTOOD: Final = Request("", "", "1.1", (), 0, keep_alive=False, host="")',
        "'' -> 'X'",
    ): "asked is whether it is HEAD, and of 1.0",
    (
        "http1",
        '_NOT_UNDERSTOOD: Final = Request("", "", "1.1", (), 0, keep_alive=False, host="")',
        "'1.1' -> '1.1X'",
    ): "the same",
    (
        "http1",
        '_NOT_UNDERSTOOD: Final = Request("", "", "1.1", (), 0, keep_alive=False, host="")',
        "0 -> 1",
    ): "the same",
    (
        "http1",
        '_NOT_UNDERSTOOD: Final = Request("", "", "1.1", (), 0, keep_alive=False, host="")',
        "0 -> -1",
    ): "the same",
    (
        "http1",
        '_NOT_UNDERSTOOD: Final = Request("", "", "1.1", (), 0, keep_alive=False, host="")',
        "False -> True",
    ): "the same",
    (
        "http1",
        '_NOTHING: Final = _Said("", "", (), (0, False), "", "")',
        "'' -> 'X'",
    ): "no head has these fields",
    ("http1", '_NOTHING: Final = _Said("", "", (), (0, False), "", "")', "0 -> 1"): "the same",
    ("http1", '_NOTHING: Final = _Said("", "", (), (0, False), "", "")', "0 -> -1"): "the same",
    (
        "http1",
        '_NOTHING: Final = _Said("", "", (), (0, False), "", "")',
        "False -> True",
    ): "the same",
    (
        "http1",
        'status = 505 if version > "2" else 400',
        "version > '2' -> version >= '2'",
    ): "a version has a dot",
    ("http1", 'connection = ""', "'' -> 'X'"): "X is no option that is known",
    (
        "http1",
        "if match is None or int(match[1] or 0) > 65535:",
        "0 -> 1",
    ): "that is no port over the limit, either",
    ("http1", "if match is None or int(match[1] or 0) > 65535:", "0 -> -1"): "the same",
    (
        "http1",
        "length: int = -1  # of content that came with them; -1: its head is not kept",
        "1 -> 2",
    ): "no content has that length",
    ("http1", 'head: bytes = b""', "b'' -> b'X'"): "not read before keep(), which sets it",
    (
        "http1",
        "if not self.has_ours and len(head) <= MAX_REMEMBERED_BYTES:",
        "len(head) <= MAX_REMEMBERED_BYTES -> len(head) < MAX_REMEMBERED_BYTES",
    ): "it costs time alone",
    (
        "http1",
        'if text.count("\\r\\ndate: ") > 1:',
        "text.count('\\r\\ndate: ') > 1 -> text.count('\\r\\ndate: ') >= 1",
    ): "a date that is alone is left alone",
    ("http1", 'if text.count("\\r\\ndate: ") > 1:', "1 -> 0"): "the same",
    ("http1", 'if text.count("\\r\\ndate: ") > 1:', "'\\r\\ndate: ' -> ''"): "the same",
    (
        "http1",
        "return _Told(status, list(headers), text, len(lines) < len(headers))",
        "len(lines) < len(headers) -> len(lines) <= len(headers)",
    ): "it costs time alone",
    (
        "http1",
        "if not 100 <= status <= 999:",
        "100 <= status <= 999 -> 100 < status <= 999",
    ): "100 has its line already",
    ("http1", "if not 100 <= status <= 999:", "100 -> 101"): "the same",
    ("deflate", "_SHORT_MEMORY_LEVEL: Final = 5", "5 -> 4"): "it costs time alone",
    ("deflate", "_SHORT_MEMORY_LEVEL: Final = 5", "5 -> 6"): "it costs memory alone",
    ("deflate", "_MEMORY_LEVEL: Final = 8", "8 -> 7"): "it costs time alone",
    ("deflate", "_MEMORY_LEVEL: Final = 8", "8 -> 9"): "it costs memory alone",
    (
        "deflate",
        "memory = _SHORT_MEMORY_LEVEL if len(payload) <= _SHORT_BYTES else _MEMORY_LEVEL",
        "len(payload) <= _SHORT_BYTES -> len(payload) < _SHORT_BYTES",
    ): "it costs time alone",
    (
        "deflate",
        "bits = max(_MIN_BITS, min(self.window_bits, (len(payload) - 1).bit_length()))",
        "len(payload) - 1 -> len(payload) + 1",
    ): "it costs time alone",
    (
        "deflate",
        "bits = max(_MIN_BITS, min(self.window_bits, (len(payload) - 1).bit_length()))",
        "1 -> 2",
    ): "it costs bytes alone",
    (
        "deflate",
        "bits = max(_MIN_BITS, min(self.window_bits, (len(payload) - 1).bit_length()))",
        "1 -> 0",
    ): "it costs time alone",
    ("deflate", "_LEVEL: Final = 3", "3 -> 2"): "it costs bytes alone",
    ("deflate", "_LEVEL: Final = 3", "3 -> 4"): "it costs time alone",
    **{
        ("conditions", "_SMALL_BYTES: Final = 16 * 1024", words): "it costs time alone"
        for words in (
            "16 * 1024 -> 16 // 1024",
            "16 -> 17",
            "16 -> 15",
            "1024 -> 1025",
            "1024 -> 1023",
        )
    },
    (
        "conditions",
        "if len(value) > _SMALL_BYTES:",
        "len(value) > _SMALL_BYTES -> len(value) >= _SMALL_BYTES",
    ): "it costs time alone",
    ("conditions", "return 0", "returns None"): "either is no status",
    ("conditions", "return 0, 3", "0 -> 1"): "what is asked is whether it is over three, or none",
    ("conditions", "return 0, 3", "0 -> -1"): "the same",
    ("engineio_client", "self._ping_by = 0.0", "gone: self._ping_by = 0.0"): "not read before",
    ("engineio_client", "self._ping_by = 0.0", "0.0 -> 1.0"): "the handshake, which sets it",
    ("engineio_client", "self._ping_by = 0.0", "0.0 -> -1.0"): "the same",
    ("engineio_v3", "if len(units) == 2 * len(text):", "2 -> 1"): "the long way does the same",
    ("engineio_v3", "if len(units) == 2 * len(text):", "2 -> 3"): "the long way does the same",
    ("selection", "listed += 1", "1 -> 2"): "what is asked is whether there are any",
    (
        "selection",
        "_FAR = 10**18  # beyond the end of every file",
        "10 -> 11",
    ): "that is farther still",
    (
        "selection",
        'return int(digits or "0") if len(digits) <= 18 else _FAR',
        "18 -> 19",
    ): "ten to the 18th is as far as any number with more digits",
    (
        "socketio",
        'return _encode(CONNECT, "", namespace, None, data)',
        "'' -> 'X'",
    ): "no bytes in it",
    (
        "socketio",
        "comma = message.find(',[\"')",
        "',[\"' -> ',[\"X'",
    ): "the long way does the same",
    ("http1_client", 'self._method = ""', "gone: self._method = ''"): "send_request() sets it",
    ("http1_client", "self._upgrade = False", "False -> True"): "the same",
    ("http1_client", "_UNTIL_CLOSED: Final = 1 << 62", "62 -> 63"): "either never comes",
    (
        "wsproto_client",
        'return chosen[0] if chosen else ""',
        "0 -> -1",
    ): "there are no two",
    ("wsproto_handshake", "return False", "returns None"): "either is no",
    (
        "wsproto_handshake",
        "if len(keys) != 1 or not _is_key(keys[0]):",
        "0 -> -1",
    ): "there are no two",
    (
        "resp",
        "self._length = 0  # of the bulk string, and what of it, with its end, is still to come",
        "gone: self._length = 0",
    ): "not read before a bulk string begins, which sets it",
    (
        "resp",
        "self._length = 0  # of the bulk string, and what of it, with its end, is still to come",
        "0 -> 1",
    ): "not read before a bulk string begins, which sets it",
    (
        "resp",
        "self._length = 0  # of the bulk string, and what of it, with its end, is still to come",
        "0 -> -1",
    ): "not read before a bulk string begins, which sets it",
    ("resp", "self._left = 0", "gone: self._left = 0"): "the same",
    ("resp", "self._left = 0", "0 -> 1"): "the same",
    ("resp", "self._left = 0", "0 -> -1"): "the same",
    ("resp", "return False", "returns None"): "either is no",
    ("resp", "if end < 0:", "end < 0 -> end <= 0"): "a line has its first byte before its end",
    ("resp", "if end < 0:", "0 -> 1"): "a line has its first byte before its end",
    (
        "resp",
        "self._searched = len(buffer) - 1  # the CR may be there already",
        "gone: self._searched = len(buffer) - 1",
    ): "it costs time alone",
    ("resp", "self._searched = 0", "0 -> 1"): "a line does not begin with its end",
    (
        "resp",
        "self._searched = 0  # how far the buffer is known to hold no end of a line",
        "0 -> 1",
    ): "the same",
    (
        "resp",
        "number = int(line) if _INTEGER.fullmatch(line) else _MAX_INTEGER + 1",
        "1 -> 2",
    ): "any number that is too large",
}
