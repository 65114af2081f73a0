//! Spans as a collector reads them: an `ExportTraceServiceRequest` of OTLP 1, as JSON.
//!
//! The JSON is that of protobuf with two exceptions that OTLP makes: ids are hexadecimal, and
//! enumerations are numbers. Numbers of 64 bits are texts, as protobuf has it.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::span::{Kind, Span, Value};

/// `SPAN_KIND_SERVER`, `SPAN_KIND_CLIENT`.
const KIND_SERVER: u8 = 2;
const KIND_CLIENT: u8 = 3;
/// `STATUS_CODE_UNSET`, `STATUS_CODE_ERROR`. That all went well is not ours to say: unset is.
const STATUS_UNSET: u8 = 0;
const STATUS_ERROR: u8 = 2;

/// The body of a request with these spans, from the service of this name.
pub(super) fn request(spans: &[Span], service_name: &str) -> Vec<u8> {
    let said = Request {
        resource_spans: [ResourceSpans {
            resource: Resource { attributes: [attribute("service.name", service_name)] },
            scope_spans: [ScopeSpans {
                scope: Scope { name: "lb", version: env!("CARGO_PKG_VERSION") },
                spans: spans.iter().map(Said::of).collect(),
            }],
        }],
    };
    serde_json::to_vec(&said).expect("texts, numbers and lists of them are JSON")
}

/// How many spans of a request that was taken were not, by the answer to it.
pub(super) fn rejected(answer: &[u8]) -> u64 {
    let answer: Answer = serde_json::from_slice(answer).unwrap_or_default();
    answer.partial_success.rejected_spans.map_or(0, |rejected| match rejected {
        Count::Number(count) => count,
        Count::Text(count) => count.parse().unwrap_or_default(),
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'s> {
    resource_spans: [ResourceSpans<'s>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'s> {
    resource: Resource<'s>,
    scope_spans: [ScopeSpans<'s>; 1],
}

#[derive(Serialize)]
struct Resource<'s> {
    attributes: [Attribute<'s>; 1],
}

#[derive(Serialize)]
struct ScopeSpans<'s> {
    scope: Scope,
    spans: Vec<Said<'s>>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Said<'s> {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    name: &'static str,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<Attribute<'s>>,
    status: Status,
}

#[derive(Serialize)]
struct Status {
    code: u8,
}

#[derive(Serialize)]
struct Attribute<'s> {
    key: &'s str,
    value: AnyValue<'s>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum AnyValue<'s> {
    StringValue(&'s str),
    IntValue(String),
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Answer {
    partial_success: PartialSuccess,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PartialSuccess {
    rejected_spans: Option<Count>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Count {
    Number(u64),
    Text(String),
}

impl<'s> Said<'s> {
    fn of(span: &'s Span) -> Self {
        let attributes = span.attributes.iter().map(|(key, value)| match value {
            Value::Text(text) => attribute(key, text),
            Value::Number(number) => {
                Attribute { key, value: AnyValue::IntValue(number.to_string()) }
            }
        });
        Self {
            trace_id: span.trace.to_string(),
            span_id: span.id.to_string(),
            parent_span_id: span.parent.map(|parent| parent.to_string()),
            name: span.name,
            kind: match span.kind {
                Kind::Server => KIND_SERVER,
                Kind::Client => KIND_CLIENT,
            },
            start_time_unix_nano: nanos(span.took.start),
            end_time_unix_nano: nanos(span.took.end),
            attributes: attributes.collect(),
            status: Status { code: if span.failed { STATUS_ERROR } else { STATUS_UNSET } },
        }
    }
}

const fn attribute<'s>(key: &'s str, text: &'s str) -> Attribute<'s> {
    Attribute { key, value: AnyValue::StringValue(text) }
}

fn nanos(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}
