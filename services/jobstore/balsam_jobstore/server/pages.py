"""Pages of resources that are one table."""

from __future__ import annotations

from typing import Any

from balsam_jobstore import reading
from balsam_jobstore.query import Resource, Test
from balsam_jobstore.server import convert
from balsam_jobstore.store import Store


async def list_page(store: Store, resource: Resource, request: Any) -> tuple[list[dict[str, Any]], str]:
    """The page that a request asks for, as field -> value, and the token of the next page."""
    node = convert.optional_node(request)
    orders = convert.orders(request.order_by)
    size = reading.page_size(request.page_size)
    sqlite, token = store.database.is_sqlite, request.page_token
    return await store.read(
        lambda connection: reading.list_records(connection, sqlite, resource, node, orders, size, token)
    )


async def find_one(store: Store, resource: Resource, field: str, value: Any) -> dict[str, Any] | None:
    """The one with this value of a field that identifies, as field -> value; None: there is none."""
    test = Test(field, "exact", (value,))
    sqlite = store.database.is_sqlite
    found, _ = await store.read(lambda connection: reading.list_records(connection, sqlite, resource, test, [], 1, ""))
    return found[0] if found else None
