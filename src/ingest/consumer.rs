//! A Kafka consumer that hands over whole batches, straight from librdkafka's queue.
//!
//! It differs from rdkafka's own consumers in three ways that ingest needs: a batch costs one call, not one a message;
//! the end of a partition tells its offset, so that trailing control records are accounted for; and a rebalance is an
//! event to be answered when the caller is ready (after it has committed what is in hand), not inside a callback.
//!
//! The unsafe code of ingest is in this file and in `topic_id`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::{CStr, CString, NulError, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::path::PathBuf;
use std::ptr;
use std::time::Duration;

use chrono::Utc;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka_sys as sys;
use rdkafka_sys::rd_kafka_resp_err_t as Code;

use super::feed::{self, Event, Feed, Kind, Partition};
use super::token;
use crate::contracts::Envelope;
use crate::error::{Error, Result};

/// Messages taken in one call. Enough to spread the call's cost, few enough to notice a shutdown quickly.
const BATCH: usize = 4096;
/// How often it is looked whether the consumer has closed.
const CLOSING_POLL_MS: c_int = 50;

pub struct Consumer {
    client: *mut sys::rd_kafka_t,
    queue: *mut sys::rd_kafka_queue_t,
    /// Reached by librdkafka's callbacks through a raw pointer, which is why it is boxed: it must not move.
    callbacks: Box<Callbacks>,
}

// SAFETY: librdkafka's handles may be used from any thread. The callbacks' state is touched only by callbacks that run
// inside calls made through `&self` on the one thread that owns the consumer (it is not Sync).
unsafe impl Send for Consumer {}

#[derive(Default)]
struct Callbacks {
    /// Where a token is found when one is due.
    token_file: Option<PathBuf>,
    events: RefCell<VecDeque<Event>>,
    /// A rebalance was told of, and librdkafka waits for the call that answers it.
    unanswered: Cell<bool>,
    /// While closing nobody is left to answer a rebalance.
    closing: Cell<bool>,
}

impl Consumer {
    pub fn new(config: &ClientConfig, token_file: Option<PathBuf>) -> Result<Consumer> {
        let native = config.create_native_config().map_err(|e| match e {
            // The value is left out: it may be a secret.
            KafkaError::ClientConfig(_, reason, name, _) => {
                Error::input(format!("kafka.properties: `{name}`: {reason}"))
            }
            e => Error::input("kafka: the client cannot be made").because(e),
        })?;
        let finds_tokens = token_file.is_some();
        let callbacks = Box::new(Callbacks { token_file, ..Callbacks::default() });
        let mut message = [0 as c_char; 512];
        // SAFETY: `native` is a valid configuration, which rd_kafka_new takes over only when it succeeds; the opaque
        // pointer stays valid until the client is destroyed in `drop`.
        let (client, queue) = unsafe {
            let conf = native.ptr();
            sys::rd_kafka_conf_set_opaque(conf, ptr::from_ref(callbacks.as_ref()).cast_mut().cast::<c_void>());
            sys::rd_kafka_conf_set_rebalance_cb(conf, Some(on_rebalance));
            sys::rd_kafka_conf_set_error_cb(conf, Some(on_error));
            sys::rd_kafka_conf_set_log_cb(conf, Some(on_log));
            if finds_tokens {
                sys::rd_kafka_conf_set_oauthbearer_token_refresh_cb(conf, Some(on_token_due));
            }
            let kind = sys::rd_kafka_type_t::RD_KAFKA_CONSUMER;
            let client = sys::rd_kafka_new(kind, conf, message.as_mut_ptr(), message.len());
            if client.is_null() {
                let reason = CStr::from_ptr(message.as_ptr()).to_string_lossy().into_owned();
                return Err(Error::input(format!("kafka: {reason}")));
            }
            std::mem::forget(native);
            sys::rd_kafka_poll_set_consumer(client);
            (client, sys::rd_kafka_queue_get_consumer(client))
        };
        Ok(Consumer { client, queue, callbacks })
    }

    fn is_cooperative(&self) -> bool {
        // SAFETY: the handle is alive; the answer is a static string or null.
        unsafe {
            let protocol = sys::rd_kafka_rebalance_protocol(self.client);
            !protocol.is_null() && CStr::from_ptr(protocol).to_bytes() == b"COOPERATIVE"
        }
    }

    fn check(&self, doing: &str, code: Code) -> Result<()> {
        match code {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            code => Err(Error::outside(format!("kafka: cannot {doing}: {}", text_of(code)))),
        }
    }
}

impl Feed for Consumer {
    type Batch<'a> = Batch<'a>;

    /// Blocks its thread, which is the session's own.
    async fn poll(&self, timeout: Duration) -> Batch<'_> {
        let mut messages: Vec<*mut sys::rd_kafka_message_t> = Vec::with_capacity(BATCH);
        let millis = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the array has room for BATCH pointers, and the call returns how many it filled.
        unsafe {
            let filled = sys::rd_kafka_consume_batch_queue(self.queue, millis, messages.as_mut_ptr(), BATCH);
            messages.set_len(usize::try_from(filled).unwrap_or(0));
        }
        Batch { messages, consumer: PhantomData }
    }

    fn event(&self) -> Option<Event> {
        self.callbacks.events.borrow_mut().pop_front()
    }

    fn subscribe(&self, topics: &[&str]) -> Result<()> {
        let list = List::of(topics.iter().map(|t| (*t, -1, None)))?;
        // SAFETY: both handles are alive; the call copies the list. An empty one would be an error.
        self.check("subscribe", unsafe {
            match topics.is_empty() {
                true => sys::rd_kafka_unsubscribe(self.client),
                false => sys::rd_kafka_subscribe(self.client, list.0),
            }
        })
    }

    fn assign(&self, partitions: &[(Partition, Option<i64>)]) -> Result<()> {
        let list = List::of(partitions.iter().map(|(p, offset)| {
            (p.topic.as_str(), p.partition, Some(offset.unwrap_or(i64::from(sys::RD_KAFKA_OFFSET_BEGINNING))))
        }))?;
        self.callbacks.unanswered.set(false);
        // SAFETY: both handles are alive; librdkafka copies the list.
        let code = unsafe {
            if self.is_cooperative() {
                code_of(sys::rd_kafka_incremental_assign(self.client, list.0))
            } else {
                sys::rd_kafka_assign(self.client, list.0)
            }
        };
        self.check("assign", code)
    }

    fn unassign(&self, partitions: &[Partition]) -> Result<()> {
        let list = List::of(partitions.iter().map(|p| (p.topic.as_str(), p.partition, None)))?;
        self.callbacks.unanswered.set(false);
        // SAFETY: as above; a null list means all partitions.
        let code = unsafe {
            if self.is_cooperative() {
                code_of(sys::rd_kafka_incremental_unassign(self.client, list.0))
            } else {
                sys::rd_kafka_assign(self.client, ptr::null())
            }
        };
        self.check("unassign", code)
    }

    fn pause(&self, partitions: &[Partition], paused: bool) -> Result<()> {
        let list = List::of(partitions.iter().map(|p| (p.topic.as_str(), p.partition, None)))?;
        // SAFETY: both handles are alive.
        let code = unsafe {
            match paused {
                true => sys::rd_kafka_pause_partitions(self.client, list.0),
                false => sys::rd_kafka_resume_partitions(self.client, list.0),
            }
        };
        self.check("pause", code)
    }

    fn report_progress(&self, partitions: &[(Partition, i64)]) {
        let Ok(list) = List::of(partitions.iter().map(|(p, next)| (p.topic.as_str(), p.partition, Some(*next)))) else {
            return;
        };
        // SAFETY: both handles are alive; the call copies the list.
        let code = unsafe { sys::rd_kafka_commit(self.client, list.0, 1) };
        if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            tracing::debug!(reason = text_of(code), "the group's offsets were not updated");
        }
    }

    fn known_end(&self, partition: &Partition) -> Option<i64> {
        let topic = CString::new(partition.topic.as_str()).ok()?;
        let (mut low, mut high) = (0, 0);
        // SAFETY: the handle is alive, the name is a C string, and both offsets are writable.
        let code = unsafe {
            sys::rd_kafka_get_watermark_offsets(
                self.client,
                topic.as_ptr(),
                partition.partition,
                &raw mut low,
                &raw mut high,
            )
        };
        (code == Code::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.callbacks.closing.set(true);
        // SAFETY: nothing borrows the consumer any more, so no message of it is alive; after this the handles are gone.
        unsafe {
            let closing = sys::rd_kafka_queue_new(self.client);
            let begun = code_of(sys::rd_kafka_consumer_close_queue(self.client, closing));
            // A session that fails while it answers a rebalance leaves it open, and closing would wait without end.
            if self.callbacks.unanswered.get() {
                sys::rd_kafka_assign(self.client, ptr::null());
            }
            while begun == Code::RD_KAFKA_RESP_ERR_NO_ERROR && sys::rd_kafka_consumer_closed(self.client) == 0 {
                // Records that were fetched meanwhile come too. They are for whoever reads these partitions next.
                let event = sys::rd_kafka_queue_poll(closing, CLOSING_POLL_MS);
                if !event.is_null() {
                    if sys::rd_kafka_event_type(event) == sys::RD_KAFKA_EVENT_REBALANCE {
                        sys::rd_kafka_assign(self.client, ptr::null());
                    }
                    sys::rd_kafka_event_destroy(event);
                }
            }
            sys::rd_kafka_queue_destroy(closing);
            sys::rd_kafka_queue_destroy(self.queue);
            sys::rd_kafka_destroy(self.client);
        }
    }
}

/// Records in the order in which they are to be taken.
pub struct Batch<'a> {
    messages: Vec<*mut sys::rd_kafka_message_t>,
    consumer: PhantomData<&'a Consumer>,
}

impl feed::Batch for Batch<'_> {
    fn messages(&self) -> impl Iterator<Item = impl feed::Message> {
        // SAFETY: each pointer is a message that lives until the batch is dropped.
        self.messages.iter().map(|m| Message { raw: unsafe { &**m } })
    }

    fn take_out(&mut self, first: usize, topic_handle: usize) -> Self {
        let behind = self.messages.split_off(first.min(self.messages.len()));
        // SAFETY: as above. Each pointer is in one of the batches, which destroys the message.
        let is_of_topic = |m: &*mut sys::rd_kafka_message_t| unsafe { &**m }.rkt.addr() == topic_handle;
        let (taken, left): (Vec<_>, Vec<_>) = behind.into_iter().partition(is_of_topic);
        self.messages.extend(left);
        Batch { messages: taken, consumer: PhantomData }
    }

    fn forget(&mut self, partition: i32) {
        let all = std::mem::take(&mut self.messages);
        // SAFETY: as above. The dropped batch destroys what it has.
        let (gone, left) = all.into_iter().partition(|m| unsafe { &**m }.partition == partition);
        self.messages = left;
        drop(Batch { messages: gone, consumer: PhantomData });
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for message in &self.messages {
            // SAFETY: each message is destroyed exactly once, here.
            unsafe { sys::rd_kafka_message_destroy(*message) };
        }
    }
}

#[derive(Clone, Copy)]
pub struct Message<'a> {
    raw: &'a sys::rd_kafka_message_t,
}

impl feed::Message for Message<'_> {
    fn kind(&self) -> Kind {
        match self.raw.err {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => Kind::Record,
            Code::RD_KAFKA_RESP_ERR__PARTITION_EOF => Kind::EndOfPartition,
            Code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET | Code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE => {
                Kind::OffsetOutOfRange
            }
            Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
            | Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID
            | Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
            | Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION => Kind::UnknownTopic,
            code => Kind::Problem(text_of(code)),
        }
    }

    fn topic_handle(&self) -> usize {
        self.raw.rkt.addr()
    }

    fn topic(&self) -> &str {
        if self.raw.rkt.is_null() {
            return "";
        }
        // SAFETY: the topic handle lives as long as its message; Kafka's topic names are ASCII.
        unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(self.raw.rkt)) }.to_str().unwrap_or("")
    }

    fn partition(&self) -> i32 {
        self.raw.partition
    }

    fn offset(&self) -> i64 {
        self.raw.offset
    }

    fn timestamp_ms(&self) -> Option<i64> {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive and `kind` is writable.
        let time = unsafe { sys::rd_kafka_message_timestamp(self.raw, &raw mut kind) };
        (time >= 0).then_some(time)
    }

    fn payload(&self) -> Option<&[u8]> {
        bytes(self.raw.payload, self.raw.len)
    }
}

impl Envelope for Message<'_> {
    fn key(&self) -> Option<&[u8]> {
        bytes(self.raw.key, self.raw.key_len)
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is alive, and `headers` is writable. They are parsed when they are first asked for, and live
        // as long as the message, which one thread has.
        if unsafe { sys::rd_kafka_message_headers(self.raw, &raw mut headers) } != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        let mut last = None;
        for index in 0.. {
            let (mut own, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the headers are alive; each of the others is writable. A name is a C string.
            let is_it = unsafe {
                let found = sys::rd_kafka_header_get_all(headers, index, &raw mut own, &raw mut value, &raw mut size);
                if found != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                    break;
                }
                CStr::from_ptr(own).to_bytes() == name.as_bytes()
            };
            if is_it {
                last = bytes(value, size);
            }
        }
        last
    }
}

fn bytes<'a>(start: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: librdkafka gives a null pointer for an absent value, or `len` bytes that live as long as the message.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast::<u8>(), len) })
}

/// A list of partitions that librdkafka understands.
struct List(*mut sys::rd_kafka_topic_partition_list_t);

impl List {
    fn of<'a>(partitions: impl Iterator<Item = (&'a str, i32, Option<i64>)>) -> Result<List> {
        // SAFETY: the list is made here and freed in `drop`; names are copied.
        unsafe {
            let list = List(sys::rd_kafka_topic_partition_list_new(8));
            for (topic, partition, offset) in partitions {
                let name = CString::new(topic).map_err(|e| Error::input(format!("topic `{topic}`")).because(e))?;
                let added = sys::rd_kafka_topic_partition_list_add(list.0, name.as_ptr(), partition);
                if let Some(offset) = offset {
                    (*added).offset = offset;
                }
            }
            Ok(list)
        }
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: made in `of`, freed once.
        unsafe { sys::rd_kafka_topic_partition_list_destroy(self.0) };
    }
}

fn text_of(code: Code) -> String {
    // SAFETY: the answer is a static string.
    unsafe { CStr::from_ptr(sys::rd_kafka_err2str(code)) }.to_string_lossy().into_owned()
}

/// # Safety
/// `error` is null or owned by us.
unsafe fn code_of(error: *mut sys::rd_kafka_error_t) -> Code {
    if error.is_null() {
        return Code::RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    // SAFETY: not null, and freed once.
    unsafe {
        let code = sys::rd_kafka_error_code(error);
        sys::rd_kafka_error_destroy(error);
        code
    }
}

unsafe extern "C" fn on_rebalance(
    client: *mut sys::rd_kafka_t,
    code: Code,
    list: *mut sys::rd_kafka_topic_partition_list_t,
    opaque: *mut c_void,
) {
    // SAFETY: `opaque` is the boxed Callbacks of a consumer that is alive, and `list` is valid during the call.
    unsafe {
        let callbacks = &*opaque.cast::<Callbacks>();
        if callbacks.closing.get() {
            sys::rd_kafka_assign(client, ptr::null());
            return;
        }
        callbacks.unanswered.set(true);
        let count = usize::try_from((*list).cnt).unwrap_or(0);
        let elements = if count == 0 { &[][..] } else { std::slice::from_raw_parts((*list).elems, count) };
        let partitions = elements
            .iter()
            .map(|e| Partition {
                topic: CStr::from_ptr(e.topic).to_string_lossy().into_owned(),
                partition: e.partition,
            })
            .collect();
        callbacks.events.borrow_mut().push_back(match code {
            Code::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Event::Assigned(partitions),
            _ => Event::Revoked(partitions),
        });
    }
}

unsafe extern "C" fn on_error(client: *mut sys::rd_kafka_t, code: c_int, reason: *const c_char, opaque: *mut c_void) {
    // SAFETY: as in `on_rebalance`; `reason` is a C string during the call.
    unsafe {
        let reason = CStr::from_ptr(reason).to_string_lossy().into_owned();
        if code == Code::RD_KAFKA_RESP_ERR__FATAL as c_int {
            let mut text = [0 as c_char; 512];
            let code = sys::rd_kafka_fatal_error(client, text.as_mut_ptr(), text.len());
            let detail = CStr::from_ptr(text.as_ptr()).to_string_lossy();
            let event = Event::Fatal(format!("{}: {detail}", text_of(code)));
            (*opaque.cast::<Callbacks>()).events.borrow_mut().push_back(event);
        } else {
            // Brokers come and go; the client reconnects by itself.
            tracing::warn!(reason, "kafka");
        }
    }
}

/// Should there be no token, librdkafka says so and asks again.
unsafe extern "C" fn on_token_due(client: *mut sys::rd_kafka_t, _: *const c_char, opaque: *mut c_void) {
    // SAFETY: as in `on_rebalance`.
    let callbacks = unsafe { &*opaque.cast::<Callbacks>() };
    let Some(file) = &callbacks.token_file else { return };
    let found = token::read(file, Utc::now().timestamp_millis()).and_then(|token| {
        let no_text = |e: NulError| Error::input("kafka.token_file: no token has such bytes").because(e);
        let (text, principal) = (CString::new(token.text.reveal()), CString::new(token.principal));
        Ok((text.map_err(no_text)?, principal.map_err(no_text)?, token.expires_ms))
    });
    let mut message = [0 as c_char; 512];
    // SAFETY: the client is alive and copies the strings; no extensions are given; it writes at most `message.len()`.
    unsafe {
        let refused = match &found {
            Ok((text, principal, expires_ms)) => {
                let code = sys::rd_kafka_oauthbearer_set_token(
                    client,
                    text.as_ptr(),
                    *expires_ms,
                    principal.as_ptr(),
                    ptr::null_mut(),
                    0,
                    message.as_mut_ptr(),
                    message.len(),
                );
                (code != Code::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| CStr::from_ptr(message.as_ptr()).to_owned())
            }
            Err(e) => Some(CString::new(e.what()).unwrap_or_default()),
        };
        if let Some(reason) = refused {
            sys::rd_kafka_oauthbearer_set_token_failure(client, reason.as_ptr());
        }
    }
}

unsafe extern "C" fn on_log(_: *const sys::rd_kafka_t, level: c_int, facility: *const c_char, text: *const c_char) {
    // SAFETY: both are C strings during the call.
    let (facility, text) =
        unsafe { (CStr::from_ptr(facility).to_string_lossy(), CStr::from_ptr(text).to_string_lossy()) };
    // What matters to an operator arrives as an error or an event; the rest is for whoever debugs the client.
    match level {
        0..=2 => tracing::error!(%facility, "{text}"),
        _ => tracing::debug!(%facility, "{text}"),
    }
}
