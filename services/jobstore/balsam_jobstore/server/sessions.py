"""SessionService: sessions, rules, and the stream of work."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NoReturn

from balsam import failpoints, stores
from balsam.errors import NotFound, ValidationError
from balsam.fields import JOB_MODES, MAX_INT, check_id
from balsam.serving import CALLER
from balsam.v1 import lease_pb2, session_pb2, session_service_pb2
from balsam.v1.session_service_pb2_grpc import SessionServiceServicer
from balsam.version import VERSION
from balsam_jobstore import applications, launches, leases, nodes, past_sessions, sessions
from balsam_jobstore.access import denied
from balsam_jobstore.amounts import Room, cut
from balsam_jobstore.clocks import ClockOffset
from balsam_jobstore.database import as_database_error, now_us
from balsam_jobstore.leases import Credit, Delivery, Grant, NodeKind, Report, Stream
from balsam_jobstore.past_sessions import PastSession
from balsam_jobstore.rights import rights_of_caller
from balsam_jobstore.rows import OWNER_KEY
from balsam_jobstore.rules import Condition, Rule
from balsam_jobstore.server import convert
from balsam_jobstore.server.calls import Call
from balsam_jobstore.sessions import Session
from balsam_jobstore.store import Store, attach_stream, detach_stream, recover_reports
from balsam_jobstore.tx import Tx
from balsam_jobstore.users import Users

pb = session_service_pb2

MAX_RULES = 500
_MOST_NODE_KINDS = 16
_MOST_QUICK_APPLICATIONS = 1000
_MOST_OF_A_KIND = 1_000_000
_MOST_LAUNCHES = 1_000
_MOST_PASSAGES = 100
_PROGRAMS_AT_ONCE = 8
"""In one answer: each may have half a MiB."""
_WORKDIR = leases.DETAIL_COLUMNS.index("workdir")
_FLAGS = frozenset({"post_error_handler", "post_timeout_handler"})


class SessionService(SessionServiceServicer):
    """Translates; the verbs are in `sessions`, `leases` and `rules`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._data = str(store.site.data)
        number = 1 if store.siblings is None else store.siblings.number
        self._renewals = store.site.address(stores.renewals(stores.name(number)))

    async def OpenSession(self, request: pb.OpenSessionRequest, context: Any) -> pb.OpenSessionResponse:
        """Opens a session."""
        call = Call(self._store, request, pb.OpenSessionResponse)
        given = request.session
        users, rights = self._store.users, rights_of_caller(self._store.users)
        if given.kind not in sessions.NAMES:
            raise ValidationError(f"kind = {given.kind}: must be SCHEDULER, LAUNCHER or STEP_WORKER", field="kind")
        if given.kind == sessions.LAUNCHER and given.job_mode not in JOB_MODES:
            raise ValidationError(
                f"job_mode = {given.job_mode!r}: must be one of {', '.join(JOB_MODES)}", field="job_mode"
            )
        if given.kind == sessions.SCHEDULER and not rights.is_all:
            raise denied("the scheduler works for the owner of the site: it opens its session with their token")
        for name in ("host", "job_mode", "workflow_filter", "address"):
            if not convert.plain_text(getattr(given, name), name).isprintable():
                raise ValidationError(f"{name} = {getattr(given, name)!r}: holds a control character", field=name)
        session = Session(
            session_id=sessions.new_id(),
            request_id=_uuid(request.request_id, "request_id"),
            kind=given.kind,
            host=given.host,
            pid=given.pid,
            owner=CALLER.get().user,
            version=request.version[:100].replace("\0", ""),
            create_us=now_us(),
            nodes=given.nodes,
            job_mode=given.job_mode,
            workflow_filter=given.workflow_filter,
            address=given.address,
            launch=_launch(given),
            owner_key=rights.user_key,
            trusted=_trusted(given, users, rights.user_key),
        )
        rights.check_taking(given.trusted_users)

        def command(tx: Tx) -> pb.OpenSessionResponse:
            if session.launch is not None:
                if not rights.is_all:  # the next one will be somebody's, and would be believed to have its launcher
                    launches.get(tx, session.launch)
                rights.check_launch(tx, session.launch)
            return pb.OpenSessionResponse(session=_session_message(self._store.add_session(tx, session), 0, users))

        answer = await call.once(command)
        with contextlib.suppress(NotFound):  # who asks again after its end hears of that
            await self._store.take_up(answer.session.session_id)
        # Of the job store that answers, which may have started meanwhile.
        answer.lease_seconds = self._store.sessions.lease_seconds
        answer.version = VERSION
        answer.renewal_address = self._renewals
        return answer

    async def RenewSession(self, request: pb.RenewSessionRequest, context: Any) -> pb.RenewSessionResponse:
        """Renews a session; no database is asked, unless it was another job store's."""
        await self._take_up(request.session_id)
        rights_of_caller(self._store.users).check_session(self._store.sessions.get(request.session_id))
        self._store.sessions.renew(request.session_id)
        return pb.RenewSessionResponse()

    async def CloseSession(self, request: pb.CloseSessionRequest, context: Any) -> pb.CloseSessionResponse:
        """Ends a session."""
        call = Call(self._store, request, pb.CloseSessionResponse)

        async def do(command: Callable[[Tx], int]) -> int:
            return (await call.once(lambda tx: pb.CloseSessionResponse(released=command(tx)))).released

        try:
            session = await self._store.session_of(request.session_id)
        except NotFound as error:
            ended = error

            def refuse(tx: Tx) -> NoReturn:
                raise ended

            return await call.once(refuse)  # unless it was this very request that has ended it
        rights_of_caller(self._store.users).check_session(session)
        return pb.CloseSessionResponse(released=await self._store.end_session(session, "was closed", do))

    async def ListSessions(self, request: pb.ListSessionsRequest, context: Any) -> pb.ListSessionsResponse:
        """The open sessions, what they could take on, and which of them holds a job."""
        asked = [check_id(request.job_id, "job_id")] if request.job_id else []

        answer = pb.ListSessionsResponse()
        if request.HasField("ended_after"):
            after_us = convert.time_us(request.ended_after)
            ended = await self._store.read(lambda connection: past_sessions.ended_after(connection, after_us))
            answer.ended.extend(map(_past_message, ended))

        def look(tx: Tx) -> tuple[dict[int, int], dict[int, pb.WorkRequest.Credit], int | None]:
            credits = {key: _credit_message(stream) for key, stream in self._store.streams.items()}
            for launch, kinds in self._store.launch_nodes.items():
                answer.launch_nodes[launch].node_kinds.extend(_kind_message(kind) for kind in kinds)
            return leases.held_by_session(tx), credits, leases.holder(tx, asked)

        counts, credits, holder = await self._store.writer.do(look)
        for session in await self._store.all_sessions():
            answer.sessions.append(_session_message(session, counts.get(session.key, 0), self._store.users))
            if session.key in credits:
                answer.credits[session.session_id].CopyFrom(credits[session.key])
            if session.key == holder:
                answer.holder = session.session_id
        return answer

    async def RegisterRules(self, request: pb.RegisterRulesRequest, context: Any) -> pb.RegisterRulesResponse:
        """Puts rules in force."""
        session = await self._store.session_of(request.session_id)
        if session.kind != sessions.SCHEDULER:
            raise ValidationError("only a scheduler's session may register rules", field="session_id")
        if len(request.rules) > MAX_RULES:
            raise ValidationError(f"more than {MAX_RULES} rules", field="rules")
        rules = [_rule(index, rule) for index, rule in enumerate(request.rules)]
        return pb.RegisterRulesResponse(moved=await self._store.register_rules(session, rules))

    async def _take_up(self, session_id: str) -> None:
        if self._store.siblings is not None:
            await self._store.take_up(session_id)

    async def RecoverReports(self, request: pb.RecoverReportsRequest, context: Any) -> pb.RecoverReportsResponse:
        """Results that come late."""
        reports = [_report(message) for message in request.reports]
        rights = rights_of_caller(self._store.users)
        refused = await self._store.writer.do(
            lambda tx: recover_reports(self._store, tx, request.session_id, reports, rights)
        )
        answer = pb.RecoverReportsResponse()
        for key, fence in refused:
            answer.refused.add(handle=key, token=fence)
        return answer

    async def Work(self, request: AsyncIterator[pb.WorkRequest], context: Any) -> AsyncIterator[pb.WorkResponse]:
        """The line to one session."""
        first = await anext(aiter(request), None)
        if first is None or not first.HasField("attach"):
            raise ValidationError("the first message of a work stream must attach to a session", field="attach")
        await self._take_up(first.attach.session_id)
        session = self._store.sessions.get(first.attach.session_id)
        rights_of_caller(self._store.users).check_session(session)
        line = _Line(self._store, session, first.attach, self._data)
        reader = asyncio.create_task(line.read(request))
        try:
            await line.attach(first.attach)
            async for response in line.responses():
                yield response
        finally:
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await reader
            line.stream.credit = Credit()  # now: without a database the command fails
            detached = self._store.writer.submit(lambda tx: detach_stream(self._store, line.stream))
            detached.add_done_callback(lambda done: done.cancelled() or done.exception())


class _Line:
    """One open work stream: deliveries of commits on their way out, reports on their way in."""

    def __init__(self, store: Store, session: Session, attach: pb.WorkRequest.Attach, data: str) -> None:
        self._store = store
        self._session = session
        self._data = data
        self._out: asyncio.Queue[Delivery | Exception | None] = asyncio.Queue()
        self._programs: dict[int, int] = {}
        self._attached = asyncio.Event()
        self._clock = ClockOffset() if session.host != socket.gethostname() else None
        states = [int(convert.state(number)) for number in attach.states]
        self.stream = Stream(session, states, self._out.put_nowait, self._pack)
        self.stream.sends_output = attach.sends_output

    async def attach(self, attach: pb.WorkRequest.Attach) -> None:
        """Takes the place of an older line of the session."""
        held = [(lease.handle, lease.token) for lease in attach.held]
        await self._store.writer.do(lambda tx: attach_stream(self._store, tx, self.stream, held))
        self._attached.set()

    async def read(self, requests: AsyncIterator[pb.WorkRequest]) -> None:
        """Queues what comes in, in order; answers go out when it is durable."""
        await self._attached.wait()
        try:
            async for request in requests:
                self._store.sessions.renew(self._session.session_id)
                submitted = self._submit(request)
                if self._store.writer.is_full:
                    await asyncio.wait((submitted,))  # what comes meanwhile waits at its sender
            self._out.put_nowait(None)
        except Exception as error:
            self._out.put_nowait(error)

    def _submit(self, request: pb.WorkRequest) -> asyncio.Future[list[tuple[int, int]]]:
        offset_us = self._clock.see(request.reports.send_time_us, now_us()) if self._clock else 0
        number = request.reports.number

        def command(tx: Tx) -> list[tuple[int, int]]:
            reports = [_report(message, offset_us) for message in request.reports.reports]
            credit = _credit(request.credit) if request.HasField("credit") else None
            refused = leases.apply_reports(tx, self._session, reports)
            if reports:
                failpoints.hit("jobstore.after-reports", as_database_error)
            if credit is not None:
                self.stream.set_credit(credit, request.credit.grants_seen)
                self._note_nodes(credit.node_kinds)
                self.stream.dry = self.stream.dry and self._same_fit(credit)
                self._last_fit = _fit(credit)
            if request.ask_drained:
                self.stream.asks_drained = True
            return refused

        def done(future: asyncio.Future[list[tuple[int, int]]]) -> None:
            if future.cancelled():
                return
            error = future.exception()
            if error is not None:
                self._out.put_nowait(error if isinstance(error, Exception) else RuntimeError(str(error)))
            elif number:
                self._out.put_nowait(Delivery(acknowledged=number, refused=future.result()))

        submitted = self._store.writer.submit(command)
        submitted.add_done_callback(done)
        return submitted

    def _note_nodes(self, kinds: Sequence[NodeKind]) -> None:
        """What a launch has may be asked for when it is over: of one that could run nothing this is the reason."""
        launch, known = self._session.launch, self._store.launch_nodes
        if launch is None or not kinds:
            return
        known.pop(launch, None)
        known[launch] = kinds
        if len(known) > _MOST_LAUNCHES:
            del known[next(iter(known))]

    _last_fit: tuple[Any, ...] = ()

    def _same_fit(self, credit: Credit) -> bool:
        """Whether what the session could run is what it was: then what was not due before is not due now."""
        return self._last_fit == _fit(credit)

    async def responses(self) -> AsyncIterator[pb.WorkResponse]:
        """What goes out: all that has come together since the last message, in one if it is not too large."""
        while True:
            deliveries = [await self._out.get()]
            await asyncio.sleep(0)  # the acknowledgement of a commit comes right after what it grants
            while not self._out.empty():
                deliveries.append(self._out.get_nowait())
            response, room = pb.WorkResponse(), Room()
            ended: Exception | None = None
            closed = False
            for delivery in deliveries:
                if isinstance(delivery, Exception):
                    ended = delivery
                    break
                if delivery is None or delivery.grants_sent < 0:
                    closed = True
                    break
                if delivery.grants and delivery.message is None:
                    await self._set_aside(delivery.grants)
                    return  # what it holds comes anew when it attaches again
                if delivery.size and not room.takes(delivery.size):
                    async for part in self._with_programs(response):
                        yield part
                    response, room = pb.WorkResponse(), Room()
                    room.takes(delivery.size)
                _merge(response, delivery)
            async for part in self._with_programs(response):
                yield part
            if ended:
                raise ended
            if closed:
                return

    async def _with_programs(self, response: pb.WorkResponse) -> AsyncIterator[pb.WorkResponse]:
        """A response with the programs of its grants, where the line has not told them as they are now; many of them
        come before it."""
        wanted = {grant.program_id for grant in response.grants} - {0}
        revisions = self._store.program_revisions
        stale = [key for key in wanted if self._programs.get(key) != revisions.get(key, 0)]
        for start in range(0, len(stale), _PROGRAMS_AT_ONCE):
            programs = await self._read_programs(stale[start : start + _PROGRAMS_AT_ONCE])
            if start + _PROGRAMS_AT_ONCE < len(stale):
                yield pb.WorkResponse(programs=programs)
            else:
                response.programs.extend(programs)
        yield response

    async def _read_programs(self, keys: list[int]) -> list[lease_pb2.Program]:
        programs = await self._store.writer.do(lambda tx: applications.by_keys(tx, keys))
        for program in programs:
            self._programs[program.key] = self._store.program_revisions.get(program.key, 0)
        return [_program(program) for program in programs]

    async def _set_aside(self, grants: Sequence[Grant]) -> None:
        keys = [grant.row_key for grant in grants]
        if not await self._store.set_aside(keys):
            raise ValueError(f"of jobs {keys} some cannot be granted")

    def _pack(self, grants: Sequence[Grant]) -> pb.WorkResponse | None:
        """Grants as a message; None: one of them is damaged."""
        try:
            return pb.WorkResponse(grants=[self._grant(grant) for grant in grants])  # type: ignore[misc]
        except (TypeError, ValueError):
            return None

    def _grant(self, grant: Grant) -> dict[str, Any]:
        # What is not given has its default; a column that is empty or 0 has, too.
        given = {name: value for name, value in zip(leases.DETAIL_COLUMNS, grant.detail, strict=True) if value}
        if "environ_vars" in given:
            given["environ_vars"] = _object(given["environ_vars"])
        if not _FLAGS.isdisjoint(given):
            given |= dict.fromkeys(_FLAGS & given.keys(), True)
        for name in ("num_nodes", "ranks_per_node", "node_packing_count", "wall_time_minutes"):
            value = getattr(grant, name)
            if value != 1:
                given[name] = value
        workdir = grant.detail[_WORKDIR]
        if type(workdir) is not str:
            raise TypeError(f"workdir = {workdir!r}")
        given.pop("workdir", None)
        job = {
            "job_id": grant.job_id,
            "name": grant.name,
            "workflow": grant.workflow,
            "state": grant.state,
            "attempt": grant.attempt,
            "message": grant.message,
            "working_directory": workdir if workdir.startswith("/") else f"{self._data}/{workdir}",
            "parents": grant.parents,
        }
        # Messages from plain dicts take half the time.
        return {
            "lease": {"handle": grant.row_key, "token": grant.fence},
            "job": job | given,
            "program_id": grant.application or 0,
            "token": self._store.tokens.make(grant.row_key, grant.fence),
            "script_attempt": grant.tries,
            "launcher_lost": bool(grant.lost),
        }


def _object(text: str) -> dict[str, str]:
    """A JSON object. Raises ValueError or TypeError if the text is none."""
    value = json.loads(text)
    if type(value) is not dict:
        raise TypeError(f"{text!r} is no JSON object")
    return value


def _merge(response: pb.WorkResponse, delivery: Delivery) -> None:
    if delivery.message is not None:
        response.MergeFrom(delivery.message)
    if delivery.attached:
        response.attached = True
    if delivery.grants_sent:
        response.grants_sent = delivery.grants_sent
    if delivery.drained:
        response.drained = True
    for key, fence in delivery.stops:
        response.stops.add(handle=key, token=fence)
    if delivery.acknowledged:
        response.ack.number = delivery.acknowledged
    for key, fence in delivery.refused:
        response.ack.refused.add(handle=key, token=fence)


def _fit(credit: Credit) -> tuple[Any, ...]:
    return (
        *(credit.largest, credit.minutes, credit.serial_only, credit.ranks_per_node, credit.node_kinds),
        credit.quick_applications,
    )


def _report(message: lease_pb2.Report, offset_us: int = 0) -> Report:
    if len(message.passages) > _MOST_PASSAGES:
        raise ValidationError(f"a report has more than {_MOST_PASSAGES} passages", field="passages")
    return Report(
        message.lease.handle,
        message.lease.token,
        [(convert.state_number(passage.state), passage.time_us + offset_us) for passage in message.passages],
        message.exit_code if message.HasField("exit_code") else None,
        cut(message.message.replace("\0", ""), convert.MAX_MESSAGE),
        message.release,
        message.spared,
        nodes.clean(message.node),
    )


def _credit(message: pb.WorkRequest.Credit) -> Credit:
    for name in ("nodes", "minutes"):
        if math.isnan(getattr(message, name)):
            raise ValidationError(f"{name} = nan: must be a number", field=name)
    return Credit(
        nodes=message.nodes,
        jobs=message.jobs,
        largest=message.largest or MAX_INT,
        minutes=message.minutes if message.HasField("minutes") else None,
        serial_only=message.serial_only,
        ranks_per_node=message.ranks_per_node,
        node_kinds=[
            NodeKind(*(min(max(0, number), _MOST_OF_A_KIND) for number in (kind.count, kind.cores, kind.gpus)))
            for kind in message.node_kinds[:_MOST_NODE_KINDS]
        ],
        closing=message.closing,
        closed_nodes=message.closed_nodes,
        quick_applications=tuple(
            name.replace("\0", "") for name in message.quick_applications[:_MOST_QUICK_APPLICATIONS]
        ),
    )


def _credit_message(stream: Stream) -> pb.WorkRequest.Credit:
    """What a session could take on now, as it says it; read where it changes, in the writer's thread."""
    credit = stream.credit
    return pb.WorkRequest.Credit(
        nodes=max(0.0, stream.nodes_left),
        jobs=max(0, stream.jobs_left),
        largest=credit.largest,
        minutes=credit.minutes,
        serial_only=credit.serial_only,
        grants_seen=stream.sent,
        ranks_per_node=credit.ranks_per_node,
        node_kinds=[_kind_message(kind) for kind in credit.node_kinds],
        closing=credit.closing,
        closed_nodes=credit.closed_nodes,
        quick_applications=credit.quick_applications,
    )


def _kind_message(kind: NodeKind) -> pb.WorkRequest.NodeKind:
    return pb.WorkRequest.NodeKind(count=kind.count, cores=kind.cores, gpus=kind.gpus)


def _rule(index: int, message: pb.Rule) -> Rule:
    source = convert.state(getattr(message, "from"))
    for number in message.when:
        if number not in Condition._value2member_map_:
            raise ValidationError(f"rules[{index}]: {number} is not a condition", field="rules")
    path = tuple(int(convert.state(number)) for number in message.path)
    text = convert.plain_text(message.message, "rules")
    rule = Rule(int(source), frozenset(int(n) for n in message.when), path, text)
    if rule.problem():
        raise ValidationError(f"rules[{index}] {rule.problem()}, which the graph does not allow", field="rules")
    return rule


def _program(application: applications.Application) -> lease_pb2.Program:
    return lease_pb2.Program(
        program_id=application.key,
        name=application.name,
        executable=application.executable,
        preprocess=application.preprocess,
        postprocess=application.postprocess,
        envscript=application.envscript,
        python=application.python,
    )


def _session_message(session: Session, held: int, users: Users) -> session_pb2.Session:
    return session_pb2.Session(
        session_id=session.session_id,
        kind=session.kind,  # type: ignore[arg-type]
        host=session.host,
        pid=session.pid,
        user=session.owner,
        create_time=convert.timestamp(session.create_us),
        nodes=session.nodes,
        job_mode=session.job_mode,
        workflow_filter=session.workflow_filter,
        leases=held,
        address=session.address,
        launch=session.launch,
        trusted_users=map(users.name, session.owner_keys[1:]),
    )


def _past_message(session: PastSession) -> session_pb2.Session:
    return session_pb2.Session(
        session_id=session.session_id,
        kind=session_pb2.Session.LAUNCHER,
        host=session.host,
        pid=session.pid,
        user=session.owner,
        create_time=convert.timestamp(session.create_us),
        end_time=convert.timestamp(session.end_us),
        nodes=session.nodes,
        job_mode=session.job_mode,
        workflow_filter=session.workflow_filter,
        launch=session.launch,
    )


def _launch(given: session_pb2.Session) -> int | None:
    if not given.HasField("launch"):
        return None
    if given.kind != sessions.LAUNCHER or not 1 <= given.launch <= MAX_INT:
        raise ValidationError(f"launch = {given.launch}: must be the id of a launch, and of a launcher", field="launch")
    return given.launch


def _trusted(given: session_pb2.Session, users: Users, user_key: int) -> str:
    """The keys of the users whose jobs a session takes beside its own user's."""
    keys = set(users.keys(given.trusted_users))
    if user_key == OWNER_KEY:
        keys |= users.trusted
    return ",".join(map(str, sorted(keys - {user_key})))


def _uuid(text: str, field: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise ValidationError(f"{field} = {text!r}: must be a UUID that the client makes", field=field) from None
