"""What `hello.rbr` uses: a function, and nothing of ours."""


def hello(globs, request, name="world"):
    return {"hello": name}  # a dict becomes JSON
