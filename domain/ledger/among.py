"""Membership: whether a column is one of a list that a statement is given, as each store asks it fastest.

PostgreSQL gets the list as one array (`= ANY`), so that a statement has one text for lists of any length: SQLAlchemy
compiles it once, and psycopg has the server prepare it. SQLite has no arrays; there it stays an `IN` that is spelt out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Dialect, String, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import UserDefinedType

from domain.ledger.columns import Id


class _Among(FunctionElement[bool]):
    inherit_cache = True
    type = Boolean()

    def self_group(self, against: Any = None) -> Any:  # noqa: ARG002 - SQLAlchemy's signature
        # SQLAlchemy would compare it with 1 on SQLite, which then reads the whole table
        return self


class _Ids(UserDefinedType[Any]):
    """An array of ids, written as its text: psycopg would ask every element of a list for its type."""

    cache_ok = True
    render_bind_cast = True

    def get_col_spec(self, **_options: Any) -> str:
        return "BIGINT[]"

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], str]:  # noqa: ARG002 - SQLAlchemy's signature
        return _written_ids


class _Words(UserDefinedType[Any]):
    """An array of words, written as its text."""

    cache_ok = True
    render_bind_cast = True

    def get_col_spec(self, **_options: Any) -> str:
        return "VARCHAR[]"

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], str]:  # noqa: ARG002 - SQLAlchemy's signature
        return _written_words


def _written_ids(values: Iterable[int]) -> str:
    return "{" + ",".join(map(str, values)) + "}"


def _written_words(values: Iterable[str]) -> str:
    """Each in quotes, so that none reads as NULL or as two."""
    escaped = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in escaped) + "}"


def among(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Whether `column`, of ids or of words, is one of the list given as parameter `name`; of none, where it is empty.

    A condition by itself, or one of several (`and_`, `or_`): it is not to be compared with anything. All uses of one
    name in a statement must be made by this function.
    """
    words = isinstance(column.type, String)
    return _Among(column, bindparam(name, type_=String if words else Id, expanding=True))


@compiles(_Among)
def _spelt_out(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    column, listed = element.clauses
    return compiler.process(column.in_(listed), **options)


@compiles(_Among, "postgresql")
def _in_array(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    column, listed = element.clauses
    kind = _Words() if isinstance(listed.type, String) else _Ids()
    array = bindparam(listed.key, type_=kind)
    return f"{compiler.process(column, **options)} = ANY ({compiler.process(array, **options)})"
