//! Routes and edits as decisions: who takes a request, and what becomes of its head.

#![cfg(not(loom))]

mod edits;
mod precedence;
mod readings;
mod support;
mod tables;
mod templates;
