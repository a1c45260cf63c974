//! The calls of CircuitService.

use futures_util::stream;

use super::{Client, DEADLINE, Error, Watch, call};
use crate::pb::v1;

impl Client {
    /// Reads a circuit.
    pub async fn circuit(&self, request: v1::GetCircuitRequest) -> Result<v1::GetCircuitResponse, Error> {
        let mut circuits = self.circuits.clone();
        call(DEADLINE, request, |request| async move { circuits.get_circuit(request).await }).await
    }

    /// Reads one page of a list of circuits.
    pub async fn circuits(&self, request: v1::ListCircuitsRequest) -> Result<v1::ListCircuitsResponse, Error> {
        let mut circuits = self.circuits.clone();
        call(DEADLINE, request, |request| async move { circuits.list_circuits(request).await }).await
    }

    /// Follows circuits, as [`watch`](Self::watch) does tasks.
    pub fn watch_circuits(&self, request: v1::WatchCircuitsRequest) -> Watch {
        Watch::of_circuits(self.circuits.clone(), request)
    }

    /// Asks whether a target may be called now. A permit's outcome is to be reported with its `token`, and where it has a
    /// `lease_expire_time` before that: until then it keeps one of few trial calls from others. A denial is no error, and says when to ask
    /// again, if anybody knows.
    pub async fn acquire(&self, request: v1::AcquirePermitRequest) -> Result<v1::AcquirePermitResponse, Error> {
        let mut circuits = self.circuits.clone();
        call(DEADLINE, request, |request| async move { circuits.acquire_permit(request).await }).await
    }

    /// Tells what has come of calls, in as many messages: up to 1,000 outcomes in each and 10,000 in all, or BATCH_LIMIT. The answer has
    /// a disposition for each, in their order. A reporter numbers its outcomes upwards from 1, and has one report under way at a time;
    /// where it does not know whether one has arrived, it sends the same numbers again: what has counted is a DUPLICATE then.
    pub async fn report(&self, messages: Vec<v1::ReportOutcomesRequest>) -> Result<v1::ReportOutcomesResponse, Error> {
        let mut circuits = self.circuits.clone();
        call(DEADLINE, stream::iter(messages), |request| async move { circuits.report_outcomes(request).await }).await
    }

    /// Lays an override over a circuit, or takes it away.
    pub async fn override_circuit(
        &self,
        request: v1::OverrideCircuitRequest,
    ) -> Result<v1::OverrideCircuitResponse, Error> {
        let mut circuits = self.circuits.clone();
        call(DEADLINE, request, |request| async move { circuits.override_circuit(request).await }).await
    }

    /// Has a circuit begin anew.
    pub async fn reset_circuit(&self, request: v1::ResetCircuitRequest) -> Result<v1::ResetCircuitResponse, Error> {
        let mut circuits = self.circuits.clone();
        call(DEADLINE, request, |request| async move { circuits.reset_circuit(request).await }).await
    }
}
