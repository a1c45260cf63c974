"""Calls a target only while its circuit lets it, and tells what has come of each call; with nothing but the generated stubs.

    pip install grpcio grpcio-tools
    mkdir stubs
    python -m grpc_tools.protoc --proto_path proto --python_out stubs --grpc_python_out stubs \\
        $(find proto/switchyard -name '*.proto')
    PYTHONPATH=stubs python examples/python/circuit_client.py 127.0.0.1:6710 namespaces/default/tasks/api http://127.0.0.1:8080/

It follows the circuit, so that a call of a closed or open one asks nobody. While the circuit is half-open it asks for a permit.
A fourth argument is what to do in doubt: last-known (the default), fail-open or fail-closed.
"""

import itertools
import queue
import sys
import threading
import time
import urllib.request
import uuid

import grpc
from google.protobuf.duration_pb2 import Duration

from switchyard.v1 import circuit_service_pb2 as api
from switchyard.v1 import circuit_service_pb2_grpc
from switchyard.v1 import event_pb2 as events
from switchyard.v1 import task_pb2 as tasks

# A watch that has nothing to tell is silent for 10 s.
STALENESS = 30
# How many outcomes a message may have.
IN_A_MESSAGE = 1_000
# How long not to ask for a permit again, where the server does not say.
ASK_AGAIN = 1
# How long a watch may say nothing until it is given up: twice what it owes.
GIVE_UP = 20
# Without them nobody would notice a server that has vanished: a watch only reads.
KEEPALIVE = [
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
]
POLICIES = ("last-known", "fail-open", "fail-closed")


class Rejected(Exception):
    """The call was not made."""


class Circuit:
    """A copy of one circuit. It is in doubt while the server has been silent for too long, nobody checks the target, or there is no such
    task; then a policy decides. "last-known": what was right when it was last known, and a call of what never was; "fail-open": a call;
    "fail-closed": none."""

    def __init__(self, server, name, policy="last-known"):
        if policy not in POLICIES:
            raise ValueError(f"no policy {policy}: {', '.join(POLICIES)}")
        self.stub = circuit_service_pb2_grpc.CircuitServiceStub(grpc.insecure_channel(server, options=KEEPALIVE))
        self.name, self.policy = name, policy
        self.reporter = f"python-{uuid.uuid4()}"
        self.sequence, self.outcomes = itertools.count(1), queue.Queue(10 * IN_A_MESSAGE)
        self.circuit, self.heard = None, float("-inf")
        self.known = threading.Event()
        # The watch, and when it has last said anything.
        self.frames, self.said = None, 0
        # One call asks for a permit at a time; and when that is worth it again, of which token, and whether nobody answered.
        self.asking = threading.Lock()
        self.ask_again = ("", 0, False)
        for work in (self._follow, self._look_after, self._tell):
            threading.Thread(target=work, daemon=True).start()

    def call(self, function):
        """Calls the function if the circuit lets it; what it raises counts as a failure, and is raised."""
        token = self._admit()
        began = time.monotonic()
        verdict = api.CALL_VERDICT_CANCELLED
        try:
            result = function()
            verdict = api.CALL_VERDICT_SUCCESS
            return result
        except Exception:
            verdict = api.CALL_VERDICT_FAILURE
            raise
        finally:
            if token is not None:
                self._report(token, verdict, time.monotonic() - began)

    def _admit(self):
        """What the call's outcome is to bear; None: nothing is to be told of it."""
        circuit = self.circuit
        doubt = self._doubt(circuit)
        if doubt and self.policy == "fail-closed":
            raise Rejected(doubt)
        if circuit is None:
            return None
        over = circuit.override
        if over in (tasks.OVERRIDE_FORCED_CLOSED, tasks.OVERRIDE_SHADOW) or doubt and self.policy == "fail-open":
            return circuit.token
        if over == tasks.OVERRIDE_FORCED_OPEN or circuit.state == tasks.CIRCUIT_STATE_OPEN:
            raise Rejected("the circuit is open")
        return self._ask(circuit) if circuit.state == tasks.CIRCUIT_STATE_HALF_OPEN else circuit.token

    def _doubt(self, circuit):
        if not self._is_fresh():
            return "the server has been silent for too long"
        if circuit is None:
            return "there is no such circuit"
        # An override holds whether or not anybody checks the target.
        if circuit.suspended and circuit.override == tasks.OVERRIDE_NONE:
            return "nobody checks the target"
        return None

    def _is_fresh(self):
        return time.monotonic() - self.heard <= STALENESS

    def _ask(self, circuit):
        """Asks for a permit. Whatever else a server says that is there, it denies one; without an answer the policy decides."""
        token, again, unanswered = self.ask_again
        # While one asks again, the others go on by what is known.
        calls = token == circuit.token and unanswered and self.policy == "fail-open"
        if token == circuit.token and time.monotonic() < again:
            if calls:
                return None
            raise Rejected("the circuit is half-open, and it is too early to ask for a permit again")
        if not self.asking.acquire(blocking=False):
            if calls:
                return None
            raise Rejected("the circuit is half-open, and another call asks for a permit")
        try:
            wait, why = ASK_AGAIN, "others try its target"
            try:
                answer = self.stub.AcquirePermit(api.AcquirePermitRequest(name=self.name), timeout=1)
                if answer.WhichOneof("answer") == "permit":
                    self.ask_again = ("", 0, False)
                    return answer.permit.token
                if answer.denied.HasField("retry_after"):
                    wait = answer.denied.retry_after.ToTimedelta().total_seconds()
            except grpc.RpcError as error:
                # The server's own errors have details, which those of the way there have not.
                answered = any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata() or ())
                gone = answered and error.code() == grpc.StatusCode.NOT_FOUND
                if self.policy != "fail-closed" and gone:
                    return None
                if not answered and self.policy == "fail-open":
                    self.ask_again = (circuit.token, time.monotonic() + ASK_AGAIN, True)
                    return None
                why = f"there is no permit: {error.code().name}"
            self.ask_again = (circuit.token, time.monotonic() + wait, False)
            raise Rejected(f"the circuit is half-open, and {why}; try again after {wait:.1f} s")
        finally:
            self.asking.release()

    def _report(self, token, verdict, seconds):
        latency = Duration()
        latency.FromNanoseconds(int(seconds * 1e9))
        outcome = api.CallOutcome(name=self.name, token=token, outcome=verdict, latency=latency)
        try:
            self.outcomes.put_nowait(outcome)
        except queue.Full:
            print("not told: too many outcomes wait")

    def _tell(self):
        """Tells of outcomes, apart from those who call: nobody waits for the server."""
        while True:
            outcomes = [self.outcomes.get()]
            while len(outcomes) < IN_A_MESSAGE and not self.outcomes.empty():
                outcomes.append(self.outcomes.get())
            for outcome in outcomes:
                outcome.sequence = next(self.sequence)
            request = api.ReportOutcomesRequest(reporter=self.reporter, outcomes=outcomes)
            while True:
                try:
                    self.stub.ReportOutcomes(iter([request]), timeout=10)
                    break
                except grpc.RpcError as error:
                    print(f"not told yet: {error.code().name}")
                    if error.code() == grpc.StatusCode.INVALID_ARGUMENT:
                        break
                    # Again with the same numbers: so what has arrived counts once.
                    time.sleep(1)

    def _follow(self):
        parent, task = self.name.rsplit("/tasks/", 1)
        cursor = ""
        while True:
            # What follows a cursor is at first as old as the copy. So one that is too old is made anew, from the state as it is.
            resumes = bool(cursor) and self._is_fresh()
            self.shown = False
            start = {"cursor": cursor} if resumes else {"send_initial_state": True}
            try:
                frames = self.stub.WatchCircuits(api.WatchCircuitsRequest(parent=parent, filter=f"name = {task}", **start))
                self.said, self.frames = time.monotonic(), frames
                for frame in frames:
                    self.said = time.monotonic()
                    if resumes and not self._is_fresh():
                        frames.cancel()
                        break
                    self._take_over(frame)
                    cursor = frame.cursor or cursor
            except grpc.RpcError as error:
                if error.code() in (grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.INVALID_ARGUMENT):
                    cursor = ""
                print(f"the watch has ended: {error.code().name}")
            time.sleep(1)

    def _look_after(self):
        """Gives up a watch that says nothing. Keepalive proves only the next hop, which may be a proxy that has lost the server."""
        while True:
            time.sleep(1)
            if self.frames and time.monotonic() - self.said > GIVE_UP:
                self.frames.cancel()

    def _take_over(self, frame):
        for circuit in frame.circuits:
            self.circuit = circuit
            self.shown = True
        for event in frame.events:
            # By its uid: a circuit that is shown in the same frame may be that of a later task under the name.
            if event.type == events.EVENT_TYPE_TASK_DELETED and self.circuit and event.uid == self.circuit.task_uid:
                self.circuit = None
        # Frames of an initial state bear no cursor before it is complete.
        if frame.initial_complete and not self.shown:
            self.circuit = None
        if frame.cursor:
            self.heard = time.monotonic()
            self.known.set()


def main():
    server, name, url, *policy = sys.argv[1:]
    circuit = Circuit(server, name, *policy)
    circuit.known.wait(timeout=5)
    while True:
        try:
            print(circuit.call(lambda: urllib.request.urlopen(url, timeout=5).status))
        # Whatever a socket may say is an OSError, as is urllib's own.
        except (Rejected, OSError, grpc.RpcError) as error:
            print(error)
        time.sleep(1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
