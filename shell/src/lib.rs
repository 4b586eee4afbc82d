#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

pub mod config;
pub mod metrics;
pub mod presence;

pub mod handoff;
pub mod mapping;

pub mod ingest;

pub mod codec;

pub mod control;
pub mod http;
pub mod ingress;

pub mod serve;
