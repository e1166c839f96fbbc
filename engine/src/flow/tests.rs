//! The table against slow, obvious models.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use proptest::prelude::*;
use usher_proto::splice::{Choice, Half, Learned, Splice, SpliceContext};
use usher_proto::tcp::{Policy, State, Tcb};
use usher_proto::time::{Now, Tick};
use usher_proto::wire::{Addr, Mac, SeqNum, Tuple};

use super::{Body, FlowId, Full, Index, NewFlow, Path, Seed, Table};

const SEED: Seed = Seed::from_bytes([7; 32]);

/// The `n`th client.
fn tuple(n: u32) -> Tuple {
    let [_, a, b, c] = n.to_be_bytes();
    Tuple {
        remote: Addr::v4([10, a, b, c]),
        local: Addr::v4([192, 0, 2, 1]),
        remote_port: 40_000,
        local_port: 80,
        ..Tuple::default()
    }
}

/// A flow of the `n`th client, told from others by its ISS.
fn flow(n: u32, iss: u32, state: State) -> NewFlow {
    NewFlow {
        tuple: tuple(n),
        tcb: Tcb { state, iss: SeqNum(iss), ..Tcb::default() },
        peer: Mac([2, 0, 0, 0, 0, n as u8]),
        edition: n as u16,
        started_us: iss,
    }
}

fn find(table: &Table, n: u32) -> Option<Index> {
    table.find(table.hash(&tuple(n)), &tuple(n)).map(|(index, _)| index)
}

fn insert(table: &mut Table, flow: &NewFlow) -> Result<Index, Full> {
    table.insert(table.hash(&flow.tuple), flow)
}

/// A path with translation, and one without.
const PATHS: [Path; 2] = [
    Path::Translated {
        remote: Addr::v4([10, 20, 0, 2]),
        local: Addr::v4([10, 20, 0, 1]),
        remote_port: 80,
        vlan: 0,
        port: 1,
    },
    Path::Direct { vlan: 7, port: 1 },
];

/// What the `n`th client's flow is called behind us.
fn name(path: u16, n: u32) -> Tuple {
    PATHS[usize::from(path)].name(&tuple(n), 1024 + n as u16)
}

fn splice(path: u16, n: u32) -> Splice {
    let choice = Choice {
        path,
        local_port: 1024 + n as u16,
        backend: 0,
        iss: SeqNum(0),
        ts_offset: None,
        header_len: 0,
        mss: 1460,
        learned: Learned::default(),
    };
    let now = Now::default();
    let cx = SpliceContext { now, policy: &Policy::default(), window: 1000, tries: 1 };
    Splice::open(&Tcb::default(), &choice, &cx)
}

#[derive(Clone, Debug)]
enum Step {
    Join(u32, u16),
    Insert(u32, State),
    Remove(u32),
    Store(u32, State),
    Schedule(u32, u32),
    Pass(u32),
    Evict,
}

fn step(clients: u32) -> impl Strategy<Value = Step> {
    let client = 0..clients;
    let state = prop::sample::select(&State::ALL[..]);
    prop_oneof![
        6 => (client.clone(), state.clone()).prop_map(|(n, s)| Step::Insert(n, s)),
        2 => client.clone().prop_map(Step::Remove),
        3 => (client.clone(), 0..2_u16).prop_map(|(n, path)| Step::Join(n, path)),
        3 => (client.clone(), state).prop_map(|(n, s)| Step::Store(n, s)),
        2 => (client, 0..3000_u32).prop_map(|(n, d)| Step::Schedule(n, d)),
        1 => (0..1000_u32).prop_map(Step::Pass),
        1 => Just(Step::Evict),
    ]
}

/// What the model knows of a flow.
struct Known {
    id: FlowId,
    iss: u32,
    state: State,
    joined: Option<u16>,
    due: Option<Tick>,
}

/// A table and everything that should be in it.
struct Checked {
    table: Table,
    now: Tick,
    flows: HashMap<u32, Known>,
    /// Clients in the order in which they came into their list.
    spent: Vec<u32>,
    time_wait: Vec<u32>,
    stale: Vec<FlowId>,
    steps: u32,
}

impl Checked {
    fn new(capacity: u32, start: u32) -> Self {
        let now = Tick(start);
        let mut table = Table::new(capacity, SEED, now);
        table.set_paths(PATHS.into());
        let (flows, spent) = (HashMap::new(), Vec::new());
        Self { table, now, flows, spent, time_wait: Vec::new(), stale: Vec::new(), steps: 0 }
    }

    fn list(&mut self, state: State) -> Option<&mut Vec<u32>> {
        match state {
            State::Closed => Some(&mut self.spent),
            State::TimeWait => Some(&mut self.time_wait),
            _ => None,
        }
    }

    fn moves(&mut self, n: u32, from: Option<State>, to: Option<State>) {
        if from == to {
            return;
        }
        if let Some(list) = from.and_then(|state| self.list(state)) {
            list.retain(|&other| other != n);
        }
        if let Some(list) = to.and_then(|state| self.list(state)) {
            list.push(n);
        }
    }

    fn take(&mut self, step: Step) {
        self.steps += 1;
        match step {
            Step::Insert(n, state) => self.insert(n, state),
            Step::Remove(n) => self.remove(n),
            Step::Join(n, path) => self.join(n, path),
            Step::Store(n, state) => self.store(n, state),
            Step::Schedule(n, d) => self.schedule(n, d),
            Step::Pass(d) => self.now = self.now.after(d),
            Step::Evict => {
                let oldest = self.spent.first().or(self.time_wait.first()).copied();
                let candidate = self.table.evict_candidate();
                assert_eq!(candidate, oldest.and_then(|n| find(&self.table, n)));
                oldest.into_iter().for_each(|n| self.remove(n));
            }
        }
        self.fire();
        self.check();
    }

    fn insert(&mut self, n: u32, state: State) {
        if self.flows.contains_key(&n) {
            return;
        }
        let full = self.flows.len() == self.table.capacity() as usize;
        let inserted = insert(&mut self.table, &flow(n, self.steps, state));
        assert_eq!(inserted.is_err(), full, "fails when full and only then");
        if let Ok(index) = inserted {
            let id = self.table.id(index);
            assert!(!self.stale.contains(&id));
            self.flows.insert(n, Known { id, iss: self.steps, state, joined: None, due: None });
            self.moves(n, None, Some(state));
        }
    }

    fn remove(&mut self, n: u32) {
        let Some(known) = self.flows.remove(&n) else { return };
        let index = find(&self.table, n).unwrap();
        assert!(self.table.remove(index));
        assert!(!self.table.remove(index), "a record is freed exactly once");
        self.moves(n, Some(known.state), None);
        self.stale.push(known.id);
    }

    /// Makes it a proxied flow, or joins it to another backend.
    fn join(&mut self, n: u32, path: u16) {
        let Some(known) = self.flows.get_mut(&n) else { return };
        let old = std::mem::replace(&mut known.state, State::SynSent);
        known.joined = Some(path);
        let index = self.table.get(known.id).unwrap();
        assert_eq!(self.table.join(index, &splice(path, n)), Ok(()));
        self.moves(n, Some(old), Some(State::SynSent));
    }

    fn store(&mut self, n: u32, state: State) {
        let Some(known) = self.flows.get_mut(&n) else { return };
        let old = std::mem::replace(&mut known.state, state);
        known.iss = self.steps;
        let index = self.table.get(known.id).unwrap();
        let tcb = flow(n, self.steps, state).tcb;
        match known.joined.take() {
            Some(_) => {
                assert_eq!(self.table.update(index, |_| ()), None, "it is proxied");
                self.table.part(index, &tcb);
            }
            None => assert_eq!(self.table.update(index, |own| *own = tcb), Some(())),
        }
        self.moves(n, Some(old), Some(state));
    }

    fn schedule(&mut self, n: u32, d: u32) {
        let Some(known) = self.flows.get_mut(&n) else { return };
        let due = self.now.after(d);
        known.due = Some(known.due.map_or(due, |linked| linked.min(due)));
        self.table.schedule(self.table.get(known.id).unwrap(), due);
    }

    fn fire(&mut self) {
        let mut budget = u32::MAX;
        while let Some(index) = self.table.next_due(self.now, &mut budget) {
            let n = u32::from(self.table.edition(index));
            let due = self.flows.get_mut(&n).and_then(|known| known.due.take());
            assert!(due.is_some_and(|due| due.is_due(self.now)), "only what is due fires");
        }
        let late = |known: &Known| known.due.is_some_and(|due| due.is_due(self.now));
        assert!(!self.flows.values().any(late), "everything due fires");
    }

    fn check(&self) {
        let table = &self.table;
        assert_eq!(table.len() as usize, self.flows.len());
        assert_eq!(table.flows(0, u32::MAX).count(), self.flows.len());
        for state in State::ALL {
            let here = self.flows.values().filter(|known| known.state == state).count();
            assert_eq!(table.count(state) as usize, here);
        }
        for (&n, known) in &self.flows {
            let index = find(table, n).unwrap();
            assert_eq!((table.get(known.id), table.id(index)), (Some(index), known.id));
            assert_eq!(table.backend_tuple(index), known.joined.map(|path| name(path, n)));
            for path in [0, 1] {
                let name = name(path, n);
                let is_its = known.joined == Some(path);
                let found = table.find(table.hash(&name), &name);
                assert_eq!(found, is_its.then_some((index, Half::Backend)));
            }
            if known.joined.is_none() {
                assert_eq!(*table.body(index), Body::Own(flow(n, known.iss, known.state).tcb));
            }
            assert_eq!((*table.tuple(index), table.edition(index)), (tuple(n), n as u16));
            assert_eq!(table.peer(index), Mac([2, 0, 0, 0, 0, n as u8]));
        }
        assert!(self.stale.iter().all(|&id| table.get(id).is_none()), "stale ids are recognised");
    }
}

proptest! {
    /// Every operation, in any order, on tables that are often full.
    #[test]
    fn behaves_as_two_hash_maps_and_two_lists(
        capacity in 0..24_u32,
        start in prop_oneof![Just(0), u32::MAX - 5000..u32::MAX],
        steps in prop::collection::vec(step(32), 0..150),
    ) {
        let mut checked = Checked::new(capacity, start);
        steps.into_iter().for_each(|step| checked.take(step));
    }

    /// Every capacity can be reached, and one more is refused.
    #[test]
    fn takes_as_many_flows_as_it_has_records(capacity in 0..3000_u32) {
        let mut table = Table::new(capacity, SEED, Tick(0));
        table.set_paths(PATHS.into());
        for n in 0..capacity {
            prop_assert!(insert(&mut table, &flow(n, n, State::SynRcvd)).is_ok());
        }
        prop_assert_eq!(insert(&mut table, &flow(capacity, 0, State::SynRcvd)), Err(Full));
        prop_assert!((0..capacity).all(|n| find(&table, n).is_some()));
        prop_assert_eq!(find(&table, capacity), None);
    }
}

#[test]
fn names_differ_in_every_part() {
    let mut table = Table::new(16, SEED, Tick(0));
    let base = tuple(1);
    let others = [
        Tuple { remote: Addr::v4([10, 0, 0, 2]), ..base },
        Tuple { local: Addr::v4([10, 0, 0, 2]), ..base },
        Tuple { remote_port: 1, ..base },
        Tuple { local_port: 1, ..base },
        Tuple { vlan: 1, ..base },
        Tuple { port: 1, ..base },
    ];
    insert(&mut table, &flow(1, 0, State::SynRcvd)).unwrap();
    for other in others {
        assert_eq!(table.find(table.hash(&other), &other), None);
        assert_eq!(table.find(table.hash(&base), &other), None, "not even with its hash");
    }
}

#[test]
fn a_full_table_gives_up_spent_markers_first_then_the_oldest_time_wait() {
    let mut table = Table::new(5, SEED, Tick(0));
    let mut index = |n, state| insert(&mut table, &flow(n, 0, state)).unwrap();
    let flows = [
        index(0, State::TimeWait),
        index(1, State::Established),
        index(2, State::Closed),
        index(3, State::TimeWait),
        index(4, State::Closed),
    ];
    let order: Vec<Index> = std::iter::from_fn(|| {
        let candidate = table.evict_candidate()?;
        table.remove(candidate).then_some(candidate)
    })
    .collect();
    assert_eq!(order, [flows[2], flows[4], flows[0], flows[3]]);
    assert_eq!((table.len(), table.active()), (1, 1));
}

#[test]
fn the_time_of_the_syn_is_kept_until_the_flow_gives_way() {
    let mut table = Table::new(1, SEED, Tick(0));
    let index = insert(&mut table, &flow(0, 77, State::SynRcvd)).unwrap();
    table.update(index, |tcb| *tcb = flow(0, 0, State::Established).tcb);
    assert_eq!(table.started_us(index), Some(77));
    table.update(index, |tcb| *tcb = flow(0, 0, State::TimeWait).tcb);
    assert_eq!(table.started_us(index), None);
}
