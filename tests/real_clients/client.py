"""A client in another language, with nothing of ours but the protos.

client.py SCENARIO GRPC_ADDRESS HTTP_ADDRESS: runs one of the functions marked @scenario. It has held if the exit code is 0.
"""

import contextlib
import http.server
import itertools
import os
import pathlib
import re
import subprocess
import sys
import threading
import urllib.request
import uuid

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

from switchyard.v1 import event_pb2 as events
from switchyard.v1 import server_service_pb2 as info
from switchyard.v1 import server_service_pb2_grpc
from switchyard.v1 import spec_pb2 as specs
from switchyard.v1 import task_pb2 as tasks
from switchyard.v1 import task_service_pb2 as api
from switchyard.v1 import task_service_pb2_grpc

# No call takes as long as this on a machine that is merely busy; without it a bug would hang the run.
PATIENCE = 60

SCENARIOS = {}


def scenario(function):
    SCENARIOS[function.__name__] = function
    return function


def expect(actual, expected):
    assert actual == expected, f"expected {expected!r}, got {actual!r}"


class Client:
    """A channel of its own, as a process of its own would have."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        self.tasks = task_service_pb2_grpc.TaskServiceStub(self.channel)
        self.server = server_service_pb2_grpc.ServerServiceStub(self.channel)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()

    def head(self):
        return self.server.GetServerInfo(info.GetServerInfoRequest(), timeout=PATIENCE).head_cursor

    def watch(self, cursor):
        """The frames after a cursor, with whole tasks in their events."""
        request = api.WatchTasksRequest(cursor=cursor, view=events.EVENT_VIEW_FULL)
        return self.tasks.WatchTasks(request, timeout=PATIENCE)

    def start(self, task_id, url, spec=None, **fields):
        spec = spec or checks(url)
        task = tasks.Task(spec=spec, labels={"owner": "python"})
        request = api.StartTaskRequest(task_id=task_id, task=task, request_id=str(uuid.uuid4()), **fields)
        return self.tasks.StartTask(request, timeout=PATIENCE)

    def swap(self, name, spec, **fields):
        """Swaps, and waits until that has ended; one that meets another is tried again."""
        request = api.SwapTaskRequest(name=name, task=tasks.Task(spec=spec), wait=True, **fields)
        while True:
            try:
                return self.tasks.SwapTask(request, timeout=PATIENCE).task
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.ABORTED:
                    raise

    def wait(self, name, *states):
        request = api.WaitTaskRequest(name=name, until=states, timeout=Duration(seconds=PATIENCE))
        return self.tasks.WaitTask(request, timeout=PATIENCE + 5)

    def cancel(self, name):
        request = api.CancelTaskRequest(name=name, wait=True, reason="the test is over")
        return self.tasks.CancelTask(request, timeout=PATIENCE)


def checks(url, interval=100, run="", **fields):
    """A spec that asks `url` every `interval` milliseconds, with its run's name in a header."""
    headers = [specs.HttpHeader(name="X-Run", value=run)] if run else []
    return specs.TaskSpec(
        http=specs.HttpMonitor(url=url, body_contains="well", headers=headers),
        schedule=specs.Schedule(interval=millis(interval)),
        **fields,
    )


def millis(number):
    return Duration(seconds=number // 1000, nanos=number % 1000 * 1_000_000)


# Circuits that checks a busy machine is late with do not open.
PATIENT = specs.CircuitPolicy(consecutive_failures=500, failure_rate=0)


class Server(http.server.ThreadingHTTPServer):
    """Numbers its connections as they come: the threads that answer them may get their turns in any order."""

    # While this process gets no turn, connections wait instead of being refused.
    request_queue_size = 1_024

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.numbers = itertools.count()

    def get_request(self):
        connection, address = super().get_request()
        return connection, (*address, next(self.numbers))


@contextlib.contextmanager
def target(before_answer=lambda run: None):
    """A real HTTP server; gives its URL and its log: for each request, its connection's number and the value of its header X-Run.

    Each request is answered once `before_answer` has returned, with the status that it returned, if any.
    """
    served = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            run = self.headers.get("X-Run", "")
            served.append((self.client_address[-1], run))
            status = before_answer(run) or 200
            body = b"all is well"
            # A check that is dropped, since its instance stops, closes its connection.
            with contextlib.suppress(ConnectionError):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/health", served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def follow(frames, until):
    """Reads frames up to an event of the type `until`; gives the events, and the cursor to resume from."""
    seen = []
    for frame in frames:
        seen.extend(frame.events)
        if any(event.type == until for event in frame.events):
            return seen, frame.cursor
    raise AssertionError(f"the stream ended before {events.EventType.Name(until)}: {seen}")


@scenario
def one_watch_stream_tells_the_whole_life_across_a_reconnect(grpc_address, _):
    with target() as (url, served), Client(grpc_address) as client, Client(grpc_address) as witness:
        begin = client.head()
        whole = witness.watch(begin)
        with Client(grpc_address) as first:
            frames = first.watch(begin)
            started = client.start("api", url)
            name = started.task.name
            before, cursor = follow(frames, until=events.EVENT_TYPE_INSTANCE_READY)
            # The connection goes, and what comes meanwhile must be there after the reconnect.
        assert client.wait(name, tasks.STATE_RUNNING).reached
        assert served, "the monitor has asked the target"

        cancelled = client.cancel(name).task
        expect(cancelled.state, tasks.STATE_CANCELLED)
        expect((cancelled.outcome.exit, cancelled.outcome.asked), (tasks.EXIT_GRACEFUL, tasks.ASKED_CANCEL))
        expect(cancelled.instance.state, tasks.INSTANCE_STATE_ENDED)

        with Client(grpc_address) as second:
            after, _ = follow(second.watch(cursor), until=events.EVENT_TYPE_TASK_ENDED)
        uninterrupted, _ = follow(whole, until=events.EVENT_TYPE_TASK_ENDED)
        expect(before + after, uninterrupted)

        sequences = [event.sequence for event in uninterrupted]
        expect(sequences, sorted(set(sequences)))
        expect(
            [events.EventType.Name(event.type).removeprefix("EVENT_TYPE_") for event in uninterrupted],
            ["TASK_CREATED", "INSTANCE_STARTING", "INSTANCE_READY", "INSTANCE_STOPPING", "INSTANCE_ENDED", "TASK_ENDED"],
        )
        expect({event.uid for event in uninterrupted}, {started.task.uid})
        last = uninterrupted[-1].task
        expect((last.state, last.outcome), (cancelled.state, cancelled.outcome))
        expect(uninterrupted[3].cause.reason, "the test is over")


@scenario
def pages_show_one_snapshot(grpc_address, _):
    with target() as (url, _), Client(grpc_address) as client:
        names = [client.start(f"page-{number}", url).task.name for number in range(5)]
        request = api.ListTasksRequest(page_size=2, filter="name = namespaces/default/tasks/page-* AND labels.owner = python")
        pages = [client.tasks.ListTasks(request, timeout=PATIENCE)]
        client.start("page-00", url)
        while pages[-1].next_page_token:
            request.page_token = pages[-1].next_page_token
            pages.append(client.tasks.ListTasks(request, timeout=PATIENCE))
        expect([[task.name for task in page.tasks] for page in pages], [names[:2], names[2:4], names[4:]])
        expect(len({page.cursor for page in pages}), 1)


def refused(call):
    """The status of a call that must fail: its code, and its details by type."""
    try:
        call()
    except grpc.RpcError as error:
        details = {}
        for packed in rpc_status.from_call(error).details:
            for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest):
                if packed.Is(kind.DESCRIPTOR):
                    details[kind] = kind()
                    packed.Unpack(details[kind])
        reason = details[error_details_pb2.ErrorInfo]
        expect(reason.domain, "switchyard")
        return error.code(), reason.reason, details.get(error_details_pb2.BadRequest)
    raise AssertionError("the call must fail")


@scenario
def errors_carry_their_reason_and_every_field(grpc_address, _):
    with Client(grpc_address) as client:
        spec = specs.TaskSpec(
            http=specs.HttpMonitor(url="ftp://example.com/"),
            schedule=specs.Schedule(interval=Duration(nanos=1)),
        )
        request = api.StartTaskRequest(task_id="Not A Name", task=tasks.Task(spec=spec))
        code, reason, bad = refused(lambda: client.tasks.StartTask(request, timeout=PATIENCE))
        expect((code, reason), (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"))
        fields = {violation.field for violation in bad.field_violations}
        expect(fields, {"task_id", "task.spec.http.url", "task.spec.schedule.interval"})

        absent = api.GetTaskRequest(name="namespaces/default/tasks/absent")
        code, reason, _ = refused(lambda: client.tasks.GetTask(absent, timeout=PATIENCE))
        expect((code, reason), (grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND"))

        code, reason, _ = refused(lambda: next(client.watch("no cursor")))
        expect((code, reason), (grpc.StatusCode.INVALID_ARGUMENT, "CURSOR_INVALID"))


@scenario
def health_and_reflection_answer(grpc_address, _):
    services = ["switchyard.v1.TaskService", "switchyard.v1.ServerService"]
    with Client(grpc_address) as client:
        health = health_pb2_grpc.HealthStub(client.channel)
        for service in ["", *services]:
            answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE)
            expect(answer.status, health_pb2.HealthCheckResponse.SERVING)
        try:
            health.Check(health_pb2.HealthCheckRequest(service="unheard.of"), timeout=PATIENCE)
            raise AssertionError("an unknown service has no health")
        except grpc.RpcError as error:
            expect(error.code(), grpc.StatusCode.NOT_FOUND)

        database = ProtoReflectionDescriptorDatabase(client.channel)
        assert set(services) <= set(database.get_services()), database.get_services()
        pool = descriptor_pool.DescriptorPool(database)
        reflected = pool.FindServiceByName("switchyard.v1.TaskService")
        generated = api.DESCRIPTOR.services_by_name["TaskService"]
        expect([method.name for method in reflected.methods], [method.name for method in generated.methods])

        # The same messages under the name that gRPC has fixed since.
        ask = client.channel.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        answers = ask(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=PATIENCE)
        listed = {service.name for service in next(answers).list_services_response.service}
        assert set(services) <= listed, listed


@scenario
def promtool_complains_of_the_two_given_names_only(grpc_address, http_address):
    with target() as (url, _), Client(grpc_address) as client:
        name = client.start("measured", url).task.name
        assert client.wait(name, tasks.STATE_RUNNING).reached
        with urllib.request.urlopen(f"http://{http_address}/metrics", timeout=PATIENCE) as answer:
            exposition = answer.read()
    assert b"\ncircuit_breaker_monitoring_task_count 1\n" in exposition, exposition.decode()
    assert b"\ncircuit_breaker_active_tasks 1\n" in exposition, exposition.decode()
    promtool = os.environ.get("SWITCHYARD_TEST_PROMTOOL", "promtool")
    checked = subprocess.run([promtool, "check", "metrics"], input=exposition, capture_output=True, check=False)
    # 3: it has complaints of style, and the exposition parses.
    assert checked.returncode in (0, 3), checked
    complaints = (checked.stdout + checked.stderr).decode().splitlines()
    given = ("circuit_breaker_monitoring_task_count ", "circuit_breaker_active_tasks ")
    expect([complaint for complaint in complaints if not complaint.startswith(given)], [])


@scenario
def a_circuit_trips_with_its_target_and_recovers_with_it(grpc_address, _):
    circuit = specs.CircuitPolicy(open_base=millis(300), trial_interval=millis(100))
    well = threading.Event()
    well.set()
    with target(lambda run: 200 if well.is_set() else 503) as (url, _), Client(grpc_address) as client:
        begin = client.head()
        name = client.start("flaky", url, checks(url, circuit=circuit)).task.name
        task = client.wait(name, tasks.STATE_RUNNING).task
        expect((task.circuit.state, task.circuit.suspended), (tasks.CIRCUIT_STATE_CLOSED, False))
        well.clear()
        down, cursor = follow(client.watch(begin), until=events.EVENT_TYPE_CIRCUIT_HALF_OPENED)
        tripped = next(event for event in down if event.type == events.EVENT_TYPE_CIRCUIT_TRIPPED)
        expect((tripped.circuit.state, tripped.circuit.reason), (tasks.CIRCUIT_STATE_OPEN, tasks.CIRCUIT_REASON_FAILURE))
        assert tripped.circuit.HasField("open_until"), tripped
        expect(tripped.task.state, tasks.STATE_RUNNING)
        well.set()
        up, _ = follow(client.watch(cursor), until=events.EVENT_TYPE_CIRCUIT_RECOVERED)
        recovered = up[-1]
        expect(recovered.type, events.EVENT_TYPE_CIRCUIT_RECOVERED)
        expect(recovered.circuit.reason, tasks.CIRCUIT_REASON_RECOVERED)
        epochs = [event.circuit.epoch for event in down + up if event.HasField("circuit")]
        expect(epochs, list(range(2, 2 + len(epochs))))
        client.cancel(name)


@scenario
def the_example_opens_the_circuit_by_its_reports_and_closes_it_by_its_trial_calls(grpc_address, http_address):
    root = pathlib.Path(__file__).resolve().parents[2]
    circuit = specs.CircuitPolicy(
        passive_min=2, open_base=millis(2_500), multiplier=1, close_successes=1, trial_permits=2, trial_interval=millis(100)
    )
    well = threading.Event()

    def answer(run):
        # Its checks pass, whatever becomes of its calls.
        return 200 if run == "check" or well.is_set() else 503

    with target(before_answer=answer) as (url, served), Client(grpc_address) as client:
        begin = client.head()
        name = client.start("called", url, checks(url, run="check", circuit=circuit)).task.name
        assert client.wait(name, tasks.STATE_RUNNING).reached
        command = [sys.executable, "-u", root / "examples/python/circuit_client.py", grpc_address, name, url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
            try:
                said = [program.stdout.readline().strip() for _ in range(2)]
                expect(said, ["HTTP Error 503: Service Unavailable"] * 2)
                until_said(program, "the circuit is open")
                well.set()
                told, _ = follow(client.watch(begin), until=events.EVENT_TYPE_CIRCUIT_RECOVERED)
                until_said(program, "200")
            finally:
                program.kill()
        moves = [event for event in told if event.HasField("circuit")]
        expect(moves[0].type, events.EVENT_TYPE_CIRCUIT_TRIPPED)
        expect(moves[0].circuit.trip_source, tasks.EVIDENCE_SOURCE_PASSIVE)
        expect(moves[-2].type, events.EVENT_TYPE_CIRCUIT_HALF_OPENED)
        recovered = moves[-1]
        expect(recovered.circuit.reason, tasks.CIRCUIT_REASON_RECOVERED)
        assert recovered.cause.reason.endswith("2 trial calls went well"), recovered.cause
        with urllib.request.urlopen(f"http://{http_address}/metrics", timeout=PATIENCE) as metrics:
            text = metrics.read().decode()
        leases = re.search(r'^circuit_breaker_circuit_permits_total\{answer="lease"\} (\d+)$', text, re.MULTILINE)
        assert leases and int(leases[1]) >= 2, "it asks for permits while it is half-open"
        assert 'circuit_permits_total{answer="free"} 0' in text or 'answer="free"' not in text, "and only then"
        calls = [run for _, run in served if run != "check"]
        assert len(calls) >= 4, calls


def until_said(program, wanted):
    """Reads what a program says, up to that line."""
    said = []
    for line in program.stdout:
        said.append(line.strip())
        if said[-1] == wanted:
            return
    raise AssertionError(f"it ended without {wanted!r}: {said}")


@scenario
def a_paused_task_asks_nothing_and_a_check_on_demand_asks_once(grpc_address, _):
    with target() as (url, served), Client(grpc_address) as client:
        begin = client.head()
        name = client.start("resting", url, checks(url, interval=24 * 3_600_000)).task.name
        assert client.wait(name, tasks.STATE_RUNNING).reached
        expect(len(served), 1)
        run = api.RunTaskRequest(name=name, request_id=str(uuid.uuid4()))
        check = client.tasks.RunTask(run, timeout=PATIENCE).check
        expect((check.verdict, len(served)), (tasks.VERDICT_PASS, 2))
        expect(client.tasks.RunTask(run, timeout=PATIENCE).check, check)
        expect(len(served), 2)

        pause = api.PauseTaskRequest(name=name, reason="night shift")
        expect(client.tasks.PauseTask(pause, timeout=PATIENCE).task.intent, tasks.INTENT_PAUSE)
        paused = client.wait(name, tasks.STATE_PAUSED).task
        expect((paused.pause.reason, paused.circuit.suspended), ("night shift", True))
        code, reason, _ = refused(lambda: client.tasks.RunTask(api.RunTaskRequest(name=name), timeout=PATIENCE))
        expect((code, reason), (grpc.StatusCode.FAILED_PRECONDITION, "TASK_NOT_RUNNING"))
        client.tasks.ResumeTask(api.ResumeTaskRequest(name=name), timeout=PATIENCE)
        resumed = client.wait(name, tasks.STATE_RUNNING).task
        expect((resumed.instance.attempt, resumed.HasField("pause"), len(served)), (2, False, 3))
        client.cancel(name)
        seen, _ = follow(client.watch(begin), until=events.EVENT_TYPE_TASK_ENDED)
        rested = [event for event in seen if event.HasField("pause")]
        expect([event.type for event in rested], [events.EVENT_TYPE_TASK_PAUSED, events.EVENT_TYPE_TASK_RESUMED])
        expect({event.pause.reason for event in rested}, {"night shift"})


@scenario
def a_client_has_the_server_end(grpc_address, _):
    with target() as (url, _), Client(grpc_address) as client:
        name = client.start("drained", url).task.name
        assert client.wait(name, tasks.STATE_RUNNING).reached
        frames = client.watch(client.head())
        answer = client.server.DrainServer(info.DrainServerRequest(reason="a new version"), timeout=PATIENCE)
        seen, _ = follow(frames, until=events.EVENT_TYPE_INSTANCE_ENDED)
        expect(seen[0].type, events.EVENT_TYPE_SERVER_DRAINING)
        expect(seen[0].cause.reason, "a new version")
        assert answer.cursor, answer

        def to_the_end():
            for _ in frames:
                pass

        code, reason, _ = refused(to_the_end)
        expect((code, reason), (grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING"))


@scenario
def a_swap_loses_no_interval(grpc_address, _):
    asked_meanwhile = threading.Semaphore(0)

    def hold_the_new_one(run):
        # The first answer to the new one waits until the old one has asked three times more.
        if run == "1":
            asked_meanwhile.release()
        elif first_of_the_new.acquire(blocking=False):
            while asked_meanwhile.acquire(blocking=False):
                pass
            for _ in range(3):
                assert asked_meanwhile.acquire(timeout=PATIENCE), "the old one has stopped asking"

    first_of_the_new = threading.Semaphore(1)
    with target(before_answer=hold_the_new_one) as (url, served), Client(grpc_address) as client:
        name = client.start("swapped", url, checks(url, run="1", circuit=PATIENT)).task.name
        before = client.wait(name, tasks.STATE_RUNNING).task
        task = client.swap(name, checks(url, interval=5_000, run="2", circuit=PATIENT), reason="another header")
        expect((task.swap.phase, task.swap.error), (tasks.SWAP_PHASE_DONE, ""))
        expect((task.generation, task.state, list(task.draining)), (2, tasks.STATE_RUNNING, []))
        expect((task.circuit.state, task.circuit.epoch), (before.circuit.state, before.circuit.epoch))
        client.cancel(name)
        runs = [run for _, run in served]
        # The old one went on until the new one had its answer.
        first = runs.index("2")
        assert runs[first:].count("1") >= 3 and "2" not in runs[:first], runs


@scenario
def two_hundred_swaps_lose_no_interval(grpc_address, _):
    interval, swaps = 200, 200
    with target() as (url, served), Client(grpc_address) as client:
        name = client.start("busy", url, checks(url, interval, run="0", circuit=PATIENT)).task.name
        # Beside it some that nobody swaps, on each of the server's threads: what the machine itself delays, it delays for one of them.
        twins = [client.start(f"twin-{n}", url, checks(url, interval, run=f"twin-{n}")).task.name for n in range(4)]
        for started in (name, *twins):
            assert client.wait(started, tasks.STATE_RUNNING).reached
        over, failures = threading.Event(), []

        def swap(numbers):
            with Client(grpc_address) as own:
                for number in numbers:
                    task = own.swap(name, checks(url, interval, run=str(number), circuit=PATIENT))
                    expect(task.state, tasks.STATE_RUNNING)

        def come_and_go():
            with Client(grpc_address) as own:
                for number in range(10_000):
                    if over.is_set():
                        break
                    passing = own.start(f"passing-{number}", url, checks(url, run="passing")).task.name
                    expect(own.cancel(passing).task.state, tasks.STATE_CANCELLED)

        def caught(function, *arguments):
            try:
                function(*arguments)
            except BaseException as error:
                failures.append(error)

        swappers = [threading.Thread(target=caught, args=(swap, range(first, swaps + 1, 2))) for first in (1, 2)]
        passers = threading.Thread(target=caught, args=(come_and_go,))
        for thread in [*swappers, passers]:
            thread.start()
        for thread in swappers:
            thread.join()
        over.set()
        passers.join()
        expect(failures, [])
        task = client.tasks.GetTask(api.GetTaskRequest(name=name), timeout=PATIENCE).task
        # No two of the specs are the same, so each of them was a swap.
        expect((task.generation, task.swap.phase), (1 + swaps, tasks.SWAP_PHASE_DONE))
        expect((task.circuit.state, task.circuit.epoch, len(task.draining)), (tasks.CIRCUIT_STATE_CLOSED, 1, 0))
        # The twins first: none of them asks when it asks no more.
        for started in (*twins, name):
            client.cancel(started)

        # Where it has missed its turn, each of the twins has had two meanwhile.
        asked_since, last = {}, None
        for _, run in sorted(served):
            if run.startswith("twin"):
                asked_since[run] = asked_since.get(run, 0) + 1
                missed = len(asked_since) == len(twins) and min(asked_since.values()) >= 2
                assert last is None or not missed, f"no request of it since run {last}: {asked_since}"
            elif run != "passing":
                asked_since, last = {}, run


if __name__ == "__main__":
    SCENARIOS[sys.argv[1]](*sys.argv[2:])
