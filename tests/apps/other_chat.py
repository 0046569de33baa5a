"""The announcement's loop in somebody else's words: an instance, dicts, other names."""

from collections import deque


class Salon:
    def __init__(self):
        self.heard = deque(maxlen=5)

    def __call__(self, g, req):
        line = req.socketio
        me = line.session.session_id
        if line.on_connect():
            line.broadcast({"news": f"{me} came"})
            line.send({"history": list(self.heard)})
        while 1:
            args = line.recv()
            if not args:
                line.broadcast({"news": f"{me} went"})
                continue
            self.heard.append({"said": [me, args[0]]})
            line.broadcast(self.heard[-1])


salon = Salon()
