//! Which topic a name means: a topic that is deleted and made again has another id, whatever its offsets.
//!
//! Brokers have told ids since Kafka 2.8 (KIP-516). Of a topic on an older one nothing is known, and that is the answer.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_int};
use std::ptr;
use std::time::Duration;

use rdkafka_sys as sys;
use rdkafka_sys::rd_kafka_resp_err_t as Code;

/// The ids of these topics: of each 63 bits, so that an id fits where a table keeps its marks. Any broker knows them;
/// left alone, the client would wait for the controller.
///
/// # Safety
/// `client` is alive.
pub(super) unsafe fn topic_ids(
    client: *mut sys::rd_kafka_t,
    broker: i32,
    topics: &[&str],
    within: Duration,
) -> Result<BTreeMap<String, i64>, String> {
    let names: Vec<CString> = topics.iter().filter_map(|t| CString::new(*t).ok()).collect();
    let mut pointers: Vec<_> = names.iter().map(|n| n.as_ptr()).collect();
    let millis = c_int::try_from(within.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: the names outlive the collection, which copies them; all that is made here is destroyed here, and nothing
    // of an event is used after it.
    unsafe {
        let asked = sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let options = sys::rd_kafka_AdminOptions_new(client, operation);
        sys::rd_kafka_AdminOptions_set_request_timeout(options, millis, ptr::null_mut(), 0);
        sys::rd_kafka_AdminOptions_set_broker(options, broker, ptr::null_mut(), 0);
        let queue = sys::rd_kafka_queue_new(client);
        sys::rd_kafka_DescribeTopics(client, asked, options, queue);
        sys::rd_kafka_AdminOptions_destroy(options);
        sys::rd_kafka_TopicCollection_destroy(asked);
        let event = sys::rd_kafka_queue_poll(queue, millis);
        sys::rd_kafka_queue_destroy(queue);
        if event.is_null() {
            return Err("no answer".to_owned());
        }
        let ids = match sys::rd_kafka_event_error(event) {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(ids_of(event)),
            Code::RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE => Ok(BTreeMap::new()),
            _ => Err(CStr::from_ptr(sys::rd_kafka_event_error_string(event)).to_string_lossy().into_owned()),
        };
        sys::rd_kafka_event_destroy(event);
        ids
    }
}

/// # Safety
/// `event` is alive.
unsafe fn ids_of(event: *mut sys::rd_kafka_event_t) -> BTreeMap<String, i64> {
    let mut ids = BTreeMap::new();
    // SAFETY: what the result points to lives as long as the event.
    unsafe {
        let result = sys::rd_kafka_event_DescribeTopics_result(event);
        let mut count = 0;
        let described = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        for index in 0..count {
            let topic = *described.add(index);
            let error = sys::rd_kafka_TopicDescription_error(topic);
            if sys::rd_kafka_error_code(error) != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                continue;
            }
            let id = sys::rd_kafka_TopicDescription_topic_id(topic);
            let bits = sys::rd_kafka_Uuid_most_significant_bits(id) ^ sys::rd_kafka_Uuid_least_significant_bits(id);
            let name = CStr::from_ptr(sys::rd_kafka_TopicDescription_name(topic)).to_string_lossy();
            // A broker that has no ids says zero.
            if bits != 0 {
                ids.insert(name.into_owned(), bits & i64::MAX);
            }
        }
    }
    ids
}
