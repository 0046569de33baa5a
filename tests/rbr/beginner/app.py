"""What the files of beginners name."""


def hello(globs, request):
    return "hello"


def chat(globs, request):
    for message in request.socketio:
        request.socketio.send(message[0])
