//! `kind = "ring"`.

use super::*;
use crate::config::{ConsumerGone, RingPlan};

/// What [`RIGHT`] says of its service.
const KIND: &str = "kind = \"respond\"\nresponse = \"hi\"";

/// [`RIGHT`] with a `ring` service that has these lines.
fn ring(lines: &str) -> String {
    assert!(RIGHT.contains(KIND));
    RIGHT.replace(KIND, &format!("kind = \"ring\"\n{lines}"))
}

fn planned(lines: &str) -> RingPlan {
    let plan = parse(&ring(lines)).unwrap_or_else(|error| panic!("{error}"));
    RingPlan::clone(plan.services[0].ring().expect("a ring"))
}

#[test]
fn rings_are_planned() {
    let default = RingPlan {
        size: 4096,
        consumer_timeout: Duration::from_secs(5),
        consumer_cores: vec![],
        consumer_gone: ConsumerGone::Reset,
        proxy: None,
    };
    assert_eq!(planned(""), default);
    let lines = "ring_size = 64\nconsumer_timeout = \"250ms\"\nconsumer_cores = [3, 2]\nconsumer_gone = \"drain\"";
    assert_eq!(
        planned(lines),
        RingPlan {
            size: 64,
            consumer_timeout: Duration::from_millis(250),
            consumer_cores: vec![3, 2],
            consumer_gone: ConsumerGone::Drain,
            proxy: None,
        }
    );
}

#[test]
fn a_ring_with_backends_is_a_proxy_too() {
    let backends = "backends = [\"10.10.0.3:80\"]\nbackend_retries = 0";
    let plan = parse(&ring(backends)).unwrap_or_else(|error| panic!("{error}"));
    let proxy = plan.services[0].proxy().expect("backends");
    assert_eq!((proxy.backends.len(), proxy.retries), (1, 0));
    assert_eq!(plan.services[0].ring().and_then(|ring| ring.proxy.as_ref()), Some(proxy));
}

#[test]
fn rings() {
    insta::assert_snapshot!(reports(&[
        (KIND, "kind = \"ring\"\nring_size = 1000"),
        (KIND, "kind = \"ring\"\nring_size = 32"),
        (KIND, "kind = \"ring\"\nconsumer_timeout = \"0s\""),
        (KIND, "kind = \"ring\"\nconsumer_gone = \"close\""),
        (KIND, "kind = \"ring\"\nconsumer_cores = [3, 3]"),
        (KIND, "kind = \"ring\"\nforward = \"l2\""),
        (KIND, "kind = \"ring\"\nbackends = [\"10.10.0.11:80\"]"),
        (KIND, "kind = \"ring\"\nresponse = \"hi\""),
        ("response", "ring_size = 64\nresponse"),
    ]));
}

#[test]
fn a_ring_needs_a_program() {
    let means = Means { devices: true, consumers: false };
    let error = Plan::check(&ring(""), Path::new("usher.toml"), means).expect_err("no program");
    insta::assert_snapshot!(error.to_string());
}

#[test]
fn rings_cannot_be_exchanged_while_they_are_in_use() {
    let change = |to: &str| {
        let next = parse(&ring(to)).unwrap_or_else(|error| panic!("{error}"));
        parse(&ring("")).expect("right").fixed_differences(&next)
    };
    assert_eq!(change("ring_size = 8192"), ["`service.ring_size`"]);
    assert_eq!(change("consumer_cores = [3]"), ["`service.consumer_cores`"]);
    assert_eq!(change("consumer_timeout = \"1s\"\nconsumer_gone = \"drain\""), [""; 0]);
    let other = parse(&ring("ring_size = 64").replace("name = \"hello\"", "name = \"other\""));
    assert_eq!(parse(&ring("")).expect("right").fixed_differences(&other.expect("right")), [""; 0]);
}
