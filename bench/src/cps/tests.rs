//! Arguments, and a client against a real engine in this process.

use clap::Parser;

use super::*;
use crate::report::Figure;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    cps: Cps,
}

fn parse(arguments: &str) -> Result<Cps, String> {
    let words = std::iter::once("cps").chain(arguments.split_whitespace());
    Cli::try_parse_from(words).map(|cli| cli.cps).map_err(|error| error.to_string())
}

fn refusal(arguments: &str) -> String {
    match parse(arguments) {
        Err(error) => error,
        Ok(cps) => run(&cps, &Progress::silent()).expect_err("refused").to_string(),
    }
}

#[test]
fn wrong_arguments_are_explained() {
    for (arguments, why) in [
        ("", "--rate"),
        ("--rate 1 --concurrency 1", "cannot be used with"),
        ("--rate 0", "above 0"),
        ("--rate 5 --ports 9-3", "above the last"),
        ("--rate 5 --ports 0-3", "port 0"),
        ("--rate 5 --from 10.0.0.0/33", "exceeds the address"),
        ("--rate 5 --from fd00::/64", "one address family"),
        ("--rate 5 --requests 2", "--answer-bytes"),
        ("--rate 5 --close client", "--answer-bytes"),
        ("--concurrency 5 --ramp 1", "--rate"),
        ("--concurrency 9 --ports 1-5", "raise --sources"),
        ("--rate 5 --device net_null0", "--to"),
        ("--rate 5 --device net_null0 --to 127.0.0.1:80", "--from"),
        ("--rate 5 --to 10.0.0.1", "invalid"),
        ("--rate 5 --mac 02:00", "six octets"),
        ("--rate 5 --sources 40000", "fewer than 40000"),
    ] {
        let error = refusal(arguments);
        assert!(error.contains(why), "{arguments}: {error}");
    }
}

/// Without DPDK there is no device to refuse it for; the order does not matter to who is refused.
#[test]
#[cfg(feature = "dpdk")]
fn a_target_that_is_not_known_to_be_ours_is_refused() {
    let error = refusal("--rate 5 --device net_null0 --to 192.0.2.1:80 --from 192.0.2.0/24");
    assert!(error.contains("--i-own-this-network"), "{error}");
    let error =
        refusal("--rate 5 --device net_null0 --to 127.0.0.1:80 --from 127.0.0.0/8 --netns prod");
    assert!(error.contains("not ours"), "{error}");
}

#[test]
fn a_request_has_the_length_that_was_asked_for() {
    for len in [1, 40, 73, 74, 75, 1000] {
        let cps = parse(&format!("--rate 1 --request-bytes {len}")).expect("right");
        assert_eq!(cps.request().len(), len);
    }
    let cps = parse("--rate 1 --request-bytes 200").expect("right");
    let request = String::from_utf8(cps.request().into()).expect("text");
    assert!(request.starts_with("GET / HTTP/1.1\r\n") && request.ends_with("\r\n\r\n"));
}

fn value(report: &Report, name: &str) -> f64 {
    let found = |figure: &&Figure| figure.name == name;
    report.results.figures.iter().find(found).map_or(0.0, |figure| figure.value)
}

#[test]
fn an_engine_in_this_process_serves_every_connection() {
    for more in
        ["", "--to [fd00::10]:80 --as windows --cookies", "--close reset --answer-bytes 300"]
    {
        let counted = "--concurrency 64 --count 2000 --warm-up 0 --seconds 60 --rounds 1 --tries 1";
        let cps = parse(&format!("{counted} {more}")).expect("right");
        let report = run(&cps, &Progress::silent()).expect("it runs");
        for (name, count) in [("begun", 2000.0), ("closed well", 2000.0), ("failed", 0.0)] {
            assert_eq!(value(&report, name), count, "{name} {more}");
        }
        assert_eq!(
            report
                .results
                .latencies
                .iter()
                .find(|it| it.name() == "start to close")
                .map(Latency::count),
            Some(2000)
        );
    }
}
