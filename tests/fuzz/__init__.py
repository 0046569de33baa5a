"""Bytes that nobody would send, and the laws that must hold whatever comes.

    python -m tests.fuzz head --seconds 60 --seed 1

`mutation` makes new inputs of old ones, `hunt` tries them, keeps what leads further and
shrinks what breaks a law. A target says where inputs start from and what the laws are;
there is a file for each family of them: `over_http`, `in_requests`, `over_websocket`,
`over_engineio`, `over_socketio`, `in_rbr`. What was found once is in
``regressions/TARGET``, and tried again by tests/test_fuzz.py.
"""
