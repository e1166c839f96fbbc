//! Consumers as C sees them.

use std::mem::MaybeUninit;
use std::time::Duration;

use engine::{Command, ConsumerEnd, FlowId, Payload};

use crate::error::set_error;
use crate::event::{UsherEvent, UsherFlow, UsherLease};

/// Takes the flows that one worker has of one service. One thread at a time may use it.
#[derive(Debug)]
pub struct UsherConsumer(pub(crate) ConsumerEnd);

/// Writes at most `max` events to `events` and returns how many there were. Never blocks. Events with a lease allocate it.
///
/// # Safety
/// `consumer` is one that usher_consumer returned and that was not freed; `events` has room for `max`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn usher_poll(
    consumer: *mut UsherConsumer,
    events: *mut UsherEvent,
    max: usize,
) -> usize {
    if max == 0 {
        return 0;
    }
    // SAFETY: the caller promises a consumer that is there, and that no other thread uses it now.
    let consumer = unsafe { &mut *consumer };
    // SAFETY: the caller promises room for so many; what is in it is not read.
    let room = unsafe { std::slice::from_raw_parts_mut(events.cast::<MaybeUninit<_>>(), max) };
    let mut places = room.iter_mut();
    consumer.0.poll(max, |event| {
        if let Some(place) = places.next() {
            place.write(UsherEvent::from(event));
        }
    })
}

/// Sleeps until an event waits or none will come any more, at most so many milliseconds. Returns false if only time has
/// passed.
///
/// # Safety
/// `consumer` is one that usher_consumer returned and that was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn usher_wait(consumer: *mut UsherConsumer, timeout_ms: u32) -> bool {
    // SAFETY: the caller promises a consumer that is there, and that no other thread uses it now.
    unsafe { &mut *consumer }.0.wait(Some(Duration::from_millis(timeout_ms.into())))
}

/// Whether no event will come any more, and all were taken.
///
/// # Safety
/// `consumer` is one that usher_consumer returned and that was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn usher_is_closed(consumer: *const UsherConsumer) -> bool {
    // SAFETY: the caller promises a consumer that is there.
    unsafe { &*consumer }.0.is_closed()
}

/// Gives a consumer up: what becomes of its flows is the service's `consumer_gone`. NULL is none.
///
/// # Safety
/// `consumer` is NULL, or one that usher_consumer returned and that was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn usher_consumer_free(consumer: *mut UsherConsumer) {
    if !consumer.is_null() {
        // SAFETY: it was made by `Box::into_raw` in `usher_consumer`, and this is its only end, as the caller promises.
        drop(unsafe { Box::from_raw(consumer) });
    }
}

/// Joins an undecided flow to a backend: this one of the service's, counted from 0, or the balancer's choice if it is
/// negative. Returns false if the ring of commands is full: take events, and call it again.
///
/// # Safety
/// `consumer` is one that usher_consumer returned and that was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn usher_proxy(
    consumer: *mut UsherConsumer,
    flow: UsherFlow,
    backend: i32,
) -> bool {
    let flow = FlowId::from_bits(flow);
    // One that no service can have is refused in the flow's events, as any that is not there.
    let backend = (backend >= 0).then(|| u16::try_from(backend).unwrap_or(u16::MAX));
    // SAFETY: the caller promises a consumer that is there, and that no other thread uses it now.
    send(unsafe { &mut *consumer }, Command::Proxy { flow, backend })
}

/// Owns an undecided flow: its bytes come as data from now on, those that were peeked at, too, unless they are to be
/// skipped. Returns false if the ring of commands is full.
///
/// # Safety
/// `consumer` is one that usher_consumer returned and that was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn usher_own(
    consumer: *mut UsherConsumer,
    flow: UsherFlow,
    skip_peeked: bool,
) -> bool {
    let flow = FlowId::from_bits(flow);
    // SAFETY: the caller promises a consumer that is there, and that no other thread uses it now.
    send(unsafe { &mut *consumer }, Command::Own { flow, skip_peeked })
}

/// Copies bytes and sends them on an owned flow, as far as there is room. Returns how many were.
///
/// # Safety
/// `consumer` is one that usher_consumer returned and that was not freed; `data` has `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn usher_write(
    consumer: *mut UsherConsumer,
    flow: UsherFlow,
    data: *const u8,
    len: usize,
) -> usize {
    // SAFETY: the caller promises a consumer that is there, and that no other thread uses it now.
    let consumer = unsafe { &mut *consumer };
    // SAFETY: the caller promises so many bytes.
    consumer.0.write(FlowId::from_bits(flow), unsafe { bytes(data, len) })
}

/// Sends the bytes of an event on an owned flow without copying them. Returns false if the ring of commands is full:
/// then the lease is still the caller's, otherwise it no longer is.
///
/// # Safety
/// `consumer` is one that usher_consumer returned and that was not freed; `lease` came in an event and was neither freed
/// nor sent.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn usher_write_lease(
    consumer: *mut UsherConsumer,
    flow: UsherFlow,
    lease: *mut UsherLease,
) -> bool {
    // SAFETY: the caller promises a consumer that is there, and that no other thread uses it now.
    let consumer = unsafe { &mut *consumer };
    if consumer.0.room() == 0 {
        set_error("the ring of commands is full: take events");
        return false;
    }
    // SAFETY: it was made by `Box::into_raw` for an event, and this is its only end, as the caller promises.
    let lease = unsafe { Box::from_raw(lease) };
    let data = Payload::Lease(lease.0);
    send(consumer, Command::Write { flow: FlowId::from_bits(flow), data })
}

/// Owns an undecided flow, sends a copy of these bytes and closes: all of it, or nothing if there is no room. Returns
/// whether it did.
///
/// # Safety
/// `consumer` is one that usher_consumer returned and that was not freed; `data` has `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn usher_respond(
    consumer: *mut UsherConsumer,
    flow: UsherFlow,
    data: *const u8,
    len: usize,
) -> bool {
    // SAFETY: the caller promises a consumer that is there, and that no other thread uses it now.
    let consumer = unsafe { &mut *consumer };
    // SAFETY: the caller promises so many bytes.
    let done = consumer.0.respond(FlowId::from_bits(flow), unsafe { bytes(data, len) });
    if !done {
        set_error("there is no room for the answer: take events");
    }
    done
}

/// Closes our side of an owned flow behind what was written. Returns false if the ring of commands is full.
///
/// # Safety
/// `consumer` is one that usher_consumer returned and that was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn usher_close(consumer: *mut UsherConsumer, flow: UsherFlow) -> bool {
    // SAFETY: the caller promises a consumer that is there, and that no other thread uses it now.
    send(unsafe { &mut *consumer }, Command::Close { flow: FlowId::from_bits(flow) })
}

/// Ends a flow at once. Returns false if the ring of commands is full.
///
/// # Safety
/// `consumer` is one that usher_consumer returned and that was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn usher_reset(consumer: *mut UsherConsumer, flow: UsherFlow) -> bool {
    // SAFETY: the caller promises a consumer that is there, and that no other thread uses it now.
    send(unsafe { &mut *consumer }, Command::Reset { flow: FlowId::from_bits(flow) })
}

fn send(consumer: &mut UsherConsumer, command: Command) -> bool {
    let sent = consumer.0.send(command);
    sent.map_err(set_error).is_ok()
}

/// # Safety
/// `data` has `len` bytes, or `len` is 0.
unsafe fn bytes<'a>(data: *const u8, len: usize) -> &'a [u8] {
    if len == 0 {
        return &[];
    }
    // SAFETY: the caller's duty.
    unsafe { std::slice::from_raw_parts(data, len) }
}
