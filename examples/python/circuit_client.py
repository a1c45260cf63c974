"""Calls a target only while its circuit lets it, and tells what has come of each call; with nothing but the generated stubs.

    pip install grpcio grpcio-tools
    mkdir stubs
    python -m grpc_tools.protoc --proto_path proto --python_out stubs --grpc_python_out stubs \\
        $(find proto/switchyard -name '*.proto')
    PYTHONPATH=stubs python examples/python/circuit_client.py 127.0.0.1:6710 namespaces/default/tasks/api http://127.0.0.1:8080/

It follows the circuit, so that a call of a closed or open one asks nobody. While the circuit is half-open it asks for a permit.
"""

import itertools
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


class Rejected(Exception):
    """The call was not made."""


class Circuit:
    """A copy of one circuit. While the server is out of reach it is what was last known; of what was never known, calls are made."""

    def __init__(self, channel, name):
        self.stub = circuit_service_pb2_grpc.CircuitServiceStub(channel)
        self.name = name
        self.reporter = f"python-{uuid.uuid4()}"
        # Numbers arrive in order, and one that does not is a duplicate: so a report is made while the lock is held.
        self.sequence = itertools.count(1)
        self.reports = threading.Lock()
        self.circuit = None
        self.known = threading.Event()
        threading.Thread(target=self._follow, daemon=True).start()

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
        circuit = self.circuit
        if circuit is None:
            return None
        over = circuit.override
        if over in (tasks.OVERRIDE_FORCED_CLOSED, tasks.OVERRIDE_SHADOW):
            return circuit.token
        if over == tasks.OVERRIDE_FORCED_OPEN or circuit.state == tasks.CIRCUIT_STATE_OPEN:
            raise Rejected("the circuit is open")
        if circuit.state != tasks.CIRCUIT_STATE_HALF_OPEN:
            return circuit.token
        answer = self.stub.AcquirePermit(api.AcquirePermitRequest(name=self.name), timeout=1)
        if answer.WhichOneof("answer") == "denied":
            wait = answer.denied.retry_after.ToTimedelta()
            raise Rejected(f"the circuit is half-open, and others try its target; try again after {wait}")
        return answer.permit.token

    def _report(self, token, verdict, seconds):
        latency = Duration()
        latency.FromNanoseconds(int(seconds * 1e9))
        with self.reports:
            outcome = api.CallOutcome(
                name=self.name, token=token, sequence=next(self.sequence), outcome=verdict, latency=latency
            )
            request = api.ReportOutcomesRequest(reporter=self.reporter, outcomes=[outcome])
            try:
                # A program with more calls would gather them, up to a thousand in a message, and tell them again, with the same
                # numbers, where it does not know whether they have arrived.
                self.stub.ReportOutcomes(iter([request]), timeout=1)
            except grpc.RpcError as error:
                print(f"not told: {error.code().name}")

    def _follow(self):
        parent = self.name.rsplit("/tasks/", 1)[0]
        cursor = ""
        while True:
            start = {"cursor": cursor} if cursor else {"send_initial_state": True}
            try:
                for frame in self.stub.WatchCircuits(api.WatchCircuitsRequest(parent=parent, **start)):
                    for circuit in frame.circuits:
                        if circuit.name == self.name:
                            self.circuit = circuit
                    for event in frame.events:
                        if event.type == events.EVENT_TYPE_TASK_DELETED and event.name == self.name:
                            self.circuit = None
                    cursor = frame.cursor or cursor
                    if cursor:
                        self.known.set()
            except grpc.RpcError as error:
                if error.code() in (grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.INVALID_ARGUMENT):
                    cursor = ""
            time.sleep(1)


def main():
    server, name, url = sys.argv[1:]
    circuit = Circuit(grpc.insecure_channel(server), name)
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
