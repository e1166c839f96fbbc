//! What kernels and programs of a crowd are like.

use super::super::peer::{Begin, Habits, Script};
use super::super::plan::MILLI;
use super::super::rng::Rng;

pub(crate) fn plain(_: &mut Rng) -> (Habits, Script) {
    (Habits::LINUX, Script { begin: Begin::OnFirstByte, ..Script::plain(5000) })
}

pub(crate) fn orderly(rng: &mut Rng) -> (Habits, Script) {
    let habits = Habits::any(rng, 1500);
    (habits, Script::orderly(rng, &habits))
}

pub(crate) fn jumbo(rng: &mut Rng) -> (Habits, Script) {
    let habits = Habits::any(rng, 9000);
    (habits, Script::orderly(rng, &habits))
}

pub(crate) fn any(rng: &mut Rng) -> (Habits, Script) {
    let habits = Habits::any(rng, 1500);
    (habits, Script::any(rng, &habits, 3))
}

/// With streams that take few segments, and room for several, so that none needs hours in a storm.
pub(crate) fn short((mut habits, script): (Habits, Script)) -> (Habits, Script) {
    let longest = 60 * u64::from(habits.mss);
    habits.buffer = habits.buffer.max(4000);
    (habits, Script { len: script.len.min(longest), ..script })
}

/// A client: it does not wait for the other to speak, who may wait for it.
pub(crate) fn speaks(script: Script) -> Script {
    let waits = script.begin == Begin::OnFirstByte;
    Script { begin: if waits { Begin::After(50 * MILLI) } else { script.begin }, ..script }
}
