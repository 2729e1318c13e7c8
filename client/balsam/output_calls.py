"""Calls about outputs: those of runs whose files cannot be read here, from their launchers by way of the job store."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

from balsam import rpc, stores
from balsam.errors import BalsamError, NotFound
from balsam.outputs import NO_OUTPUT
from balsam.v1 import output_service_pb2 as pb
from balsam.v1.output_service_pb2_grpc import OutputServiceStub

if TYPE_CHECKING:
    from balsam.client import Client


class OutputCalls:
    """The job store's service for outputs."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def read(self, job_id: str, offset: int = 0, *, follow: bool = False) -> OutputStream:
        """The output of a job's run; see `OutputStream`.

        Args:
            job_id: the job.
            offset: first byte wanted; negative: so many before the end of what there is.
            follow: go on until the run ends.
        """
        return OutputStream(self._client, pb.ReadOutputRequest(job_id=job_id, offset=offset, follow=follow))


class OutputStream:
    """The output of a run as it comes: pieces, and the position of the first byte of each. Close it from any thread."""

    def __init__(self, client: Client, request: pb.ReadOutputRequest) -> None:
        self._client = client
        self._request = request
        self._call: Any = None
        self._is_closed = False

    def close(self) -> None:
        """Ends the iteration."""
        self._is_closed = True
        if self._call is not None:
            self._call.cancel()

    def __iter__(self) -> Iterator[tuple[bytes, int]]:
        """Until the run has ended and all was sent; without `follow`, all that there is.

        Raises:
            NotFound: there is no such job, NO_RUN, or NO_OUTPUT.
            NotAllowed: it is somebody else's.
            Unavailable: the job store or the launcher cannot be reached, or the line to one of them broke.
        """
        asked = {""}
        problem = yield from self._ask("")
        while problem is not None and problem.reason == stores.OTHER_STORE and problem.field not in asked:
            asked.add(problem.field)
            problem = yield from self._ask(problem.field)
        if problem is not None and not self._is_closed:
            raise _explained(problem)

    def _ask(self, store: str) -> Generator[tuple[bytes, int], None, BalsamError | None]:
        """What one job store sends; returns the problem, if there is one. No store: any."""
        import grpc

        connection = rpc.Connection(self._client.site, retry_seconds=0, prefer=store)
        try:
            self._call = connection.stream(OutputServiceStub, "ReadOutput", self._request)
            if not self._is_closed:
                for answer in self._call:
                    yield answer.data, answer.offset
        except grpc.RpcError as error:
            return rpc.unpack_error(error)
        finally:
            if self._call is not None:
                self._call.cancel()
            connection.close()
        return None


def _explained(problem: BalsamError) -> BalsamError:
    if problem.reason == "UNIMPLEMENTED":
        return NotFound(
            "the job store is of an earlier version, which passes no output on: read the file where the job runs, or "
            "start the services anew with this version (`balsam down`, then `balsam up`)",
            reason=NO_OUTPUT,
        )
    return problem
