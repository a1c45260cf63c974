//! What clients do to the listener: more connections than there are descriptors, handshakes that are never finished, streams that
//! are reset as soon as they are opened. The server lives through it, is idle meanwhile, and drains within its bound.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cli::process::Served;

const DESCRIPTORS: usize = 48;
const CLIENTS: usize = 80;
/// How long a drain may take.
const DRAIN: Duration = Duration::from_secs(10);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, b's', b'w', b'i', b't', b'c', b'h', b'e', b'd'];
const PING_TYPE: u8 = 6;
const ACK: u8 = 1;

#[tokio::test]
async fn clients_cannot_wear_the_listener_out() {
    // One thread for each kind, so that there are descriptors left for clients.
    let flags = ["--built-in-shards", "1", "--custom-shards", "1"];
    let served = Served::begin_with_descriptors(DESCRIPTORS, &flags);
    let address: SocketAddr = served.address.parse().expect("an address");

    let clients = more_than_descriptors(&served, address).await;
    assert_idle(&served);
    drop(clients);
    assert_answers(&served);

    let mut half_open = Vec::new();
    for said in [b"".as_slice(), &PREFACE[..PREFACE.len() / 2], &[PREFACE, EMPTY_SETTINGS].concat()] {
        let mut client = TcpStream::connect(address).await.expect("listening");
        client.write_all(said).await.expect("connected");
        half_open.push(client);
    }
    assert_idle(&served);
    for at_once in [10, 1_000] {
        reset_a_thousand(address, at_once).await;
    }
    assert_answers(&served);

    let clients = more_than_descriptors(&served, address).await;
    let told = Instant::now();
    assert_eq!(served.terminate(), Some(0));
    assert!(told.elapsed() < DRAIN, "{:?}", told.elapsed());
    drop((half_open, clients));
}

/// Connects clients until there is no descriptor left to accept one with, and more.
async fn more_than_descriptors(served: &Served, address: SocketAddr) -> Vec<TcpStream> {
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(TcpStream::connect(address).await.expect("the backlog is longer"));
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while descriptors(served) < DESCRIPTORS {
        assert!(Instant::now() < deadline, "{} descriptors are open", descriptors(served));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    clients
}

fn descriptors(served: &Served) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", served.id())).expect("alive").count()
}

/// The server uses a small part of the time that one thread gets which spins: however busy the machine is, a loop that spins there
/// would get as much.
fn assert_idle(served: &Served) {
    const SPIN: u64 = 50;
    let (process, thread) = (format!("/proc/{}/stat", served.id()), "/proc/thread-self/stat");
    let (used, spun) = (ticks(&process), ticks(thread));
    while ticks(thread) - spun < SPIN {}
    let used = ticks(&process) - used;
    assert!(used <= SPIN / 4, "the server has used {used} ticks while a thread that spins got {SPIN}");
}

/// The processor's time that was used, in user mode and in the kernel: the fields 14 and 15 of proc(5).
fn ticks(stat: &str) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "nothing else runs on this thread, and /proc does not block")]
    let stat = std::fs::read_to_string(stat).expect("alive");
    // The second field is the program's name, in parentheses, and may hold anything.
    let (_name, fields) = stat.rsplit_once(')').expect("a name");
    let fields = fields.split_whitespace().skip(11).take(2);
    fields.map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

fn assert_answers(served: &Served) {
    let listed = served.run(&["list"]);
    assert_eq!(listed.code, 0, "{listed:?}");
}

/// Opens and resets a thousand streams, so many at once; where the server has had enough of a connection, on a further one.
async fn reset_a_thousand(address: SocketAddr, at_once: u32) {
    let mut reset = 0;
    while reset < 1_000 {
        let mut client = TcpStream::connect(address).await.expect("listening");
        client.write_all(&[PREFACE, EMPTY_SETTINGS].concat()).await.expect("accepted");
        for nth in 0.. {
            let streams = (nth * at_once..(nth + 1) * at_once).map(|n| 2 * n + 1);
            let frames: Vec<u8> = streams.flat_map(open_and_reset).chain(PING.iter().copied()).collect();
            reset += at_once;
            let taken = client.write_all(&frames).await.is_ok() && pinged(&mut client).await;
            if !taken || reset >= 1_000 {
                break;
            }
        }
    }
}

/// `POST /` without an end, and its reset.
fn open_and_reset(stream: u32) -> impl Iterator<Item = u8> {
    const END_HEADERS: u8 = 4;
    const CANCEL: u8 = 8;
    // From HPACK's static table: the method, the scheme, the path.
    let headers = [0, 0, 3, 1, END_HEADERS].into_iter().chain(stream.to_be_bytes()).chain([0x83, 0x86, 0x84]);
    headers.chain([0, 0, 4, 3, 0]).chain(stream.to_be_bytes()).chain([0, 0, 0, CANCEL])
}

/// Reads until our ping is answered; false where the connection ends instead.
async fn pinged(client: &mut TcpStream) -> bool {
    let mut head = [0; 9];
    while client.read_exact(&mut head).await.is_ok() {
        let [_, high, low, kind, flags, ..] = head;
        let mut payload = vec![0; usize::from(u16::from_be_bytes([high, low]))];
        if client.read_exact(&mut payload).await.is_err() {
            return false;
        }
        if kind == PING_TYPE && flags == ACK {
            return true;
        }
    }
    false
}
