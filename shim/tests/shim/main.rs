//! The shim without a containerd: how it is started, what it answers, what it holds, and how it ends.

mod clients;
mod common;
mod end;
mod events;
mod exec;
mod root;
mod sandbox;
mod start;
mod streams;
mod task;
mod waits;
