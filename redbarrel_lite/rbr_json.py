"""Trees and diagnostics as JSON: what editors and other tools are given.

Implements the output of ``check --json``. Every node becomes an object with its
kind under ``node`` and its place under ``span``; positions are those of
messages, line and column from 1. Used as ``json.dumps(tree(parse(text)))``.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeAlias

from .errors import Diagnostic, Span
from .rbr_diagnostics import Source
from .rbr_nodes import Node, Rbr

Json: TypeAlias = dict[str, Any]

_LEFT_OUT = ("start", "end")  # said by `span`, with lines and columns


def tree(rbr: Rbr) -> Json:
    """A file's tree."""
    return {
        "node": "Rbr",
        "file": rbr.source.filename,
        "definitions": [_node(definition, rbr.source) for definition in rbr.definitions],
        "tail": list(rbr.tail),
    }


def diagnostic(found: Diagnostic) -> Json:
    """One error or warning."""
    return {
        "code": found.code,
        "severity": found.severity,
        "message": found.message,
        "help": found.help,
        "notes": list(found.notes),
        "file": found.filename,
        "start": {"line": found.line, "column": found.column, "offset": found.span.start},
        "end": {"line": found.end_line, "column": found.end_column, "offset": found.span.end},
    }


def _node(node: Node, source: Source) -> Json:
    found: Json = {"node": type(node).__name__, "span": _span(node.span, source)}
    for field in fields(node):
        if field.name not in _LEFT_OUT:
            found[field.name] = _value(getattr(node, field.name), source)
    return found


def _value(value: object, source: Source) -> Any:
    if isinstance(value, Node):
        return _node(value, source)
    if isinstance(value, Span):
        return _span(value, source)
    if isinstance(value, tuple):
        return [_value(one, source) for one in value]
    return value


def _span(span: Span, source: Source) -> Json:
    return {"start": _place(span.start, source), "end": _place(span.end, source)}


def _place(offset: int, source: Source) -> Json:
    line, column = source.position(offset)
    return {"line": line, "column": column, "offset": offset}
