//! Engines of all kinds of ports as one type.

#![forbid(unsafe_code)]

use std::time::Duration;

use crate::config::Plan;
use crate::control::SharedSource;
use crate::engine::Engine;
use crate::handoff::ConsumerEnd;
use crate::port::Port;
use crate::stats::Snapshot;

/// What a program wants of an engine, whatever its ports are. The methods are those of [`Engine`].
pub(super) trait Running: Send + Sync {
    fn take_consumers(&mut self, service: &str) -> Vec<ConsumerEnd>;
    fn attach(&self, service: &str, worker: usize) -> Result<ConsumerEnd, String>;
    fn reload(&mut self, plan: &Plan) -> Result<(), String>;
    fn stats(&self) -> Snapshot;
    fn source(&self) -> SharedSource;
    fn workers(&self) -> usize;
    fn drain(&self, timeout: Duration);
    fn is_finished(&self) -> bool;
    fn finish(&mut self);
    fn stop(&mut self);
}

impl<P: Port + 'static> Running for Engine<P> {
    fn take_consumers(&mut self, service: &str) -> Vec<ConsumerEnd> {
        Self::take_consumers(self, service)
    }

    fn attach(&self, service: &str, worker: usize) -> Result<ConsumerEnd, String> {
        Self::attach(self, service, worker)
    }

    fn reload(&mut self, plan: &Plan) -> Result<(), String> {
        Self::reload(self, plan)
    }

    fn stats(&self) -> Snapshot {
        Self::stats(self)
    }

    fn source(&self) -> SharedSource {
        Self::source(self)
    }

    fn workers(&self) -> usize {
        Self::workers(self)
    }

    fn drain(&self, timeout: Duration) {
        Self::drain(self, timeout);
    }

    fn is_finished(&self) -> bool {
        Self::is_finished(self)
    }

    fn finish(&mut self) {
        Self::finish(self);
    }

    fn stop(&mut self) {
        Self::stop(self);
    }
}
