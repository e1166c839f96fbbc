//! `kind = "ring"`: a service whose connections a program takes.

use std::collections::HashSet;
use std::time::Duration;

use super::plan::{ConsumerGone, RingPlan};
use super::problem::{At, Problems};
use super::proxy::{self, Proxy};
use super::section::Section;
use super::service::{Kind, Service};

/// The keys of `kind = "ring"` alone; those of a proxy service may stand beside them.
pub(super) const KEYS: &[&str] =
    &["consumer_cores", "ring_size", "consumer_timeout", "consumer_gone"];

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(3600);

/// Fewer slots than this are full at every burst.
const SMALLEST: u32 = 64;

/// A `ring` service as the file has it, each value right in itself.
pub(super) struct Ring {
    /// Where the file says that it is one.
    place: At<()>,
    /// Without the backends.
    pub(super) plan: RingPlan,
    /// If there are backends.
    pub(super) proxy: Option<Proxy>,
}

/// Reads the options of a `ring` service.
pub(super) fn read(section: &Section<'_>, place: At<()>) -> Ring {
    let default = RingPlan::default();
    let cores = section.integers::<u16>("consumer_cores", 0..=1023);
    let mut seen = HashSet::new();
    for core in cores.iter().filter(|core| !seen.insert(core.value)) {
        let what = format!("core {} is named twice", core.value);
        section.problems().add(core, what, "name each core once: one thread is pinned to it");
    }
    let size = section.integer::<u32>("ring_size", SMALLEST..=1_048_576);
    if let Some(size) = size.as_ref().filter(|size| !size.value.is_power_of_two()) {
        let what = format!("{} is no power of two", size.value);
        section.problems().add(size, what, section.write("ring_size"));
    }
    let timeout = section.duration("consumer_timeout", SHORTEST..=LONGEST);
    let gone = [("reset", ConsumerGone::Reset), ("drain", ConsumerGone::Drain)];
    let gone = section.choice("consumer_gone", &gone);
    let has_backends = section.has("backends");
    if !has_backends {
        let because = "this key is about `backends`, and this service has none";
        section.refuse(proxy::KEYS, because);
    }
    Ring {
        place,
        proxy: has_backends.then(|| proxy::read(section)),
        plan: RingPlan {
            size: size.map_or(default.size, |at| at.value),
            consumer_timeout: timeout.map_or(default.consumer_timeout, |at| at.value),
            consumer_cores: cores.iter().map(|core| core.value.into()).collect(),
            consumer_gone: gone.map_or(default.consumer_gone, |at| at.value),
            proxy: None,
        },
    }
}

/// Refuses services whose connections nobody would take: this is no program with a consumer.
pub(super) fn no_consumer(services: &[Service], problems: &Problems) {
    for service in services {
        let Some(Kind::Ring(ring)) = &service.kind else { continue };
        let what = "nothing takes the connections of this service: `usher run` has no consumer";
        problems.add(&ring.place, what, REMEDY);
    }
}

/// What to do about such a service.
const REMEDY: &str = "start the engine from the program that takes them (the library `usher`), or \
                      write `kind = \"proxy\"` or `kind = \"respond\"`";
