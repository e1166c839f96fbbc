//! The options of the service kind that is not in this version: `ring`. They are checked like all
//! others, so that a file written for a later version can be validated by this one.

use std::time::Duration;

use super::section::Section;

/// The keys of `kind = "ring"`.
pub(super) const RING: &[&str] = &["consumer_cores", "ring_size", "consumer_timeout"];

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(3600);

/// Checks the options of a `ring` service.
pub(super) fn ring(section: &Section<'_>) {
    section.require(&["consumer_cores"]);
    section.integers::<u16>("consumer_cores", 0..=1023);
    let size = section.integer::<u32>("ring_size", 2..=1_048_576);
    if let Some(size) = size.filter(|size| !size.value.is_power_of_two()) {
        let what = format!("{} is no power of two", size.value);
        section.problems().add(&size, what, section.write("ring_size"));
    }
    section.duration("consumer_timeout", SHORTEST..=LONGEST);
}
