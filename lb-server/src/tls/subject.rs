//! Who a certificate is about, as text (RFC 4514): `CN=lb,OU=Edge,O=Example`.
//!
//! The text is printable ASCII whatever the certificate holds, so that it can stand in a header: all
//! else is escaped as the bytes of its UTF-8, which the RFC allows for any character (§2.4).

use std::fmt::Write;

use x509_parser::asn1_rs::ToDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Attributes that have a short name; all others are numbers (RFC 4514 §3).
const SHORT: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

/// The name, the most specific part first, as the RFC wants it (§2.1).
pub(super) fn text(name: &X509Name<'_>) -> String {
    let part = |(index, attribute)| attribute_text(attribute, index > 0);
    let mut parts: Vec<String> = name
        .iter_rdn()
        .map(|part_of_name| part_of_name.iter().enumerate().map(part).collect())
        .collect();
    parts.reverse();
    parts.join(",")
}

/// `CN=lb`; attributes of the same part stand together with a `+` (§2.2).
fn attribute_text(attribute: &AttributeTypeAndValue<'_>, follows: bool) -> String {
    let mut text = String::from(if follows { "+" } else { "" });
    let oid = attribute.attr_type().to_id_string();
    let short = SHORT.iter().find(|(id, _)| *id == oid).map(|(_, short)| *short);
    match (short, attribute.as_str()) {
        (Some(short), Ok(value)) => {
            text += short;
            text += "=";
            escape(value, &mut text);
        }
        // What has no short name, or is no text, stands as the bytes of its encoding (§2.4).
        (short, _) => {
            text += short.unwrap_or(&oid);
            text += "=#";
            for byte in attribute.attr_value().to_der_vec().unwrap_or_default() {
                hex(byte, &mut text);
            }
        }
    }
    text
}

fn escape(value: &str, text: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (index, c) in value.chars().enumerate() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', c]),
            '#' if index == 0 => text.push_str("\\#"),
            ' ' if index == 0 || index == last => text.push_str("\\ "),
            ' ' | '!'..='~' => text.push(c),
            _ => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    text.push('\\');
                    hex(byte, text);
                }
            }
        }
    }
}

fn hex(byte: u8, text: &mut String) {
    write!(text, "{byte:02x}").expect("a string can be written to");
}
