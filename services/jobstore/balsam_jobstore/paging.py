"""Orders and pages: sort keys as SQL, and page tokens, which hold the sort keys of the last row of a page."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from balsam.errors import ValidationError
from balsam.fields import check_id
from balsam_jobstore import schema
from balsam_jobstore.json_at import jsonb

Expression = sa.ColumnElement[Any]


@dataclass(frozen=True)
class SortKey:
    """An expression to sort by; null sorts as the smallest."""

    expression: Expression
    descending: bool = False
    nullable: bool = False
    json: bool = False
    """Values of any type, for it comes from a JSON column."""

    def bound(self, value: Any) -> Any:
        """A value of a page token, to compare the expression with. Raises ValueError if it cannot be one of it."""
        kind = self.expression.type
        if isinstance(kind, JSONB):
            return jsonb(value)
        if self.json:
            wanted: tuple[type, ...] = (int, float, str)
        elif isinstance(kind, sa.Integer):
            wanted = (int,)
        else:
            wanted = (int, float) if isinstance(kind, (sa.Numeric, sa.Float)) else (str,)
        if isinstance(value, bool) or not isinstance(value, wanted):
            raise ValueError(value)
        if isinstance(value, int) and abs(value) >= 2**63:
            raise ValueError(value)
        return check_id(value) if kind is schema.Uuid else value


def order_clauses(keys: Sequence[SortKey]) -> list[Expression]:
    """The ORDER BY of sort keys."""
    clauses: list[Expression] = []
    for key in keys:
        if key.nullable:
            present: Expression = sa.case((key.expression.is_(None), 0), else_=1)
            clauses.append(present.desc() if key.descending else present.asc())
        clauses.append(key.expression.desc() if key.descending else key.expression.asc())
    return clauses


def rows_after(keys: Sequence[SortKey], token: str) -> Expression:
    """The rows behind the one whose sort keys a page token holds.

    Raises:
        ValidationError: it is no page token of such a query.
    """
    try:
        return _after(keys, _unpack(token, len(keys)))
    except (ValueError, RecursionError):
        raise ValidationError(
            "page_token is not one of this query's; ask for the first page", field="page_token"
        ) from None


def _after(keys: Sequence[SortKey], values: Sequence[Any]) -> Expression:
    alternatives: list[Expression] = []
    equal: list[Expression] = []
    for key, value in zip(keys, values, strict=True):
        expression = key.expression
        behind: Expression
        if value is None:
            if not key.nullable:
                raise ValueError(value)
            behind = sa.false() if key.descending else expression.is_not(None)
            same = expression.is_(None)
        else:
            bound = key.bound(value)
            behind = expression < bound if key.descending else expression > bound
            if key.nullable and key.descending:
                behind = sa.or_(behind, expression.is_(None))
            same = expression == bound
        alternatives.append(sa.and_(*equal, behind))
        equal.append(same)
    return sa.or_(*alternatives)


def pack_token(values: Sequence[Any]) -> str:
    """A page token: the sort keys of the page's last row."""
    return base64.urlsafe_b64encode(json.dumps(list(values)).encode()).decode()


def _unpack(token: str, count: int) -> list[Any]:
    values = json.loads(base64.urlsafe_b64decode(token.encode()))
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(token)
    text = json.dumps(values, ensure_ascii=False)
    text.encode()  # no lone surrogates
    if "\\u0000" in text:
        raise ValueError(token)
    return values
