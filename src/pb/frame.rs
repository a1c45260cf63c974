//! Frames of a watch, as a server sends them.

use prost::Message;
use prost::bytes::{Buf, BufMut};
use prost::encoding::{DecodeContext, WireType, encode_key};

use super::render::put_event;
use super::v1::{Circuit, WatchTasksResponse};
use crate::model::Brief;

/// The field `events` of a `WatchTasksResponse`.
const EVENTS: u32 = 1;
/// The field `circuits` of a `WatchCircuitsResponse`, whose other fields are numbered as those of a `WatchTasksResponse`.
const CIRCUITS: u32 = 2;

/// A [`WatchTasksResponse`] of events that are encoded already, or a `WatchCircuitsResponse`: on the wire it is the same message. So an event is encoded once,
/// however many streams show it, and a frame that waits for its client is bytes, not messages of many strings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WatchFrame {
    /// All of it but for the rest; put into a buffer at once, since one that grows by a little after it has grown by much doubles, and is
    /// kept for as long as a client reads nothing.
    events: Vec<u8>,
    /// What is not encoded yet.
    rest: WatchTasksResponse,
}

impl WatchFrame {
    /// A frame of events, each added by [`push_event`], and its cursor.
    ///
    /// [`push_event`]: Self::push_event
    pub fn new(mut events: Vec<u8>, cursor: String) -> Self {
        let rest = WatchTasksResponse { cursor, ..Default::default() };
        events.reserve_exact(rest.encoded_len());
        rest.encode_raw(&mut events);
        Self { events, rest: WatchTasksResponse::default() }
    }

    /// A frame of circuits.
    pub fn of_circuits(circuits: &[Circuit]) -> Self {
        let mut events = Vec::new();
        circuits.iter().for_each(|circuit| Self::push_circuit(&mut events, circuit));
        Self { events, rest: WatchTasksResponse::default() }
    }

    /// Adds a circuit to what was pushed to a frame.
    pub fn push_circuit(frame: &mut Vec<u8>, circuit: &Circuit) {
        prost::encoding::message::encode(CIRCUITS, circuit, frame);
    }

    /// Adds an event to those of a frame, encoded.
    pub fn push_event(events: &mut Vec<u8>, encoded: &[u8]) {
        encode_key(EVENTS, WireType::LengthDelimited, events);
        prost::encoding::encode_varint(encoded.len() as u64, events);
        events.put_slice(encoded);
    }

    /// Adds an event in the basic view.
    pub fn push_brief(events: &mut Vec<u8>, event: &Brief<'_>) {
        put_event(events, EVENTS, event);
    }
}

impl From<WatchTasksResponse> for WatchFrame {
    fn from(response: WatchTasksResponse) -> Self {
        Self { events: response.encode_to_vec(), rest: WatchTasksResponse::default() }
    }
}

impl Message for WatchFrame {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        buffer.put_slice(&self.events);
        self.rest.encode_raw(buffer);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        self.rest.merge_field(tag, wire_type, buffer, context)
    }

    fn encoded_len(&self) -> usize {
        self.events.len() + self.rest.encoded_len()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::v1::{Event, Task};
    use super::*;

    #[test]
    fn a_frame_is_on_the_wire_what_its_response_is() {
        let event = |sequence| Event { sequence, name: "n".repeat(200), ..Default::default() };
        let mut frame = WatchFrame::default();
        for number in [1, 2] {
            WatchFrame::push_event(&mut frame.events, &event(number).encode_to_vec());
        }
        let tasks = vec![Task { name: "t".to_owned(), ..Default::default() }];
        let response =
            WatchTasksResponse { tasks, cursor: "c".to_owned(), initial_complete: true, ..Default::default() };
        frame.rest = response.clone();
        let response = WatchTasksResponse { events: vec![event(1), event(2)], ..response };
        assert_eq!(frame.encode_to_vec(), response.encode_to_vec());
        assert_eq!(frame.encoded_len(), response.encoded_len());
        let decoded = WatchFrame::decode(&*frame.encode_to_vec()).expect("the same message");
        assert_eq!(decoded.rest, response);

        let bookmark = WatchTasksResponse { cursor: "c".to_owned(), ..Default::default() };
        assert_eq!(WatchFrame::new(Vec::new(), "c".to_owned()).encode_to_vec(), bookmark.encode_to_vec());
    }
}
