//! Screens as they are seen, and what keys do.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::{Value, json};

use super::draw::draw;
use super::model::{Model, News, Wish};
use super::page::Page;

/// An engine of two workers, `seconds` after its start, that has done everything `n` times.
fn stats(seconds: f64, n: u64) -> Value {
    let worker = |worker: u64, load: u64| {
        json!({
            "worker": worker, "core": worker + 2, "busy_ratio": 0.5, "received": n * load * 50, "sent": n * load * 40,
            "turns": n * 100, "idle_turns": n * (100 - load), "busy_us": n * load, "time_us": n * 100,
            "handshakes_started": n * load, "handshakes_completed": n * load / 2, "flows_ended": n * load / 3,
            "cookies_sent": n * 3, "cookies_accepted": n, "cookies_rejected": n * 2,
            "drop_land": n * worker, "drop_bad_tcp_checksum": n * 2, "drop_no_backend": 0,
            "flows": { "ESTABLISHED": load * 1000, "SYN_RCVD": load, "SPENT": 9 },
        })
    };
    let service = |name: &str, kind: &str, n: u64| {
        json!({
            "name": name, "kind": kind, "listen": ["10.10.0.10:80", "[fd00:10::10]:80"], "drained": kind == "respond",
            "handshakes_started": n * 5, "handshakes_completed": n * 4, "failed_handshake_timeout": n,
            "ended_closed": n * 2, "ended_reset_by_peer": n, "handshake_p50_us": 112, "handshake_p99_us": 5120,
            "handshake_times": [[112, n * 90], [5120, n * 9], [1_310_720, n]],
        })
    };
    let learned = json!({
        "mss": 1460, "window_scale": 10, "sack": true, "timestamps": true, "ecn": true, "window": 64240,
    });
    let backend = |address: &str, up: bool, learned: &Value| {
        json!({
            "service": "web", "address": address, "up": up, "drained": false, "connections": 40 + n, "connected": n * 3,
            "refused": if up { 0 } else { n }, "checks_passed": n, "learned": learned,
        })
    };
    json!({
        "version": "1.2.3", "uptime_s": seconds,
        "workers": [worker(0, 95), worker(1, 12)],
        "services": [service("web", "proxy", n), service("hello", "respond", n / 7), service("old", "", 0)],
        "backends": [
            backend("10.20.0.2:80", true, &learned),
            backend("[fd00:20::2]:80", true, &learned),
            backend("10.20.0.3:80", false, &Value::Null),
        ],
        "ports": [{ "name": "wan", "link_up": true, "received": n * 5000, "sent": n * 4000, "missed": n }],
    })
}

fn model() -> Model {
    let mut model = Model::new("/run/usher/control.sock".into(), "500ms".into());
    model.hear(News::Stats(stats(3725.0, 1000)));
    model.hear(News::Stats(stats(3725.5, 1070)));
    model
}

/// Presses keys: letters by themselves, others by the name of their code.
fn press(model: &mut Model, keys: &[KeyCode]) {
    for key in keys {
        assert_eq!(model.key(KeyEvent::new(*key, KeyModifiers::NONE)), Wish::Stay);
    }
}

fn letters(text: &str) -> Vec<KeyCode> {
    text.chars().map(KeyCode::Char).collect()
}

fn screen(model: &Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model)).unwrap();
    terminal.backend().to_string()
}

/// What the first column of the table in front says.
fn names(model: &Model) -> Vec<String> {
    model.listing().rows.iter().map(|row| row.cells[0].text.clone()).collect()
}

fn selected(model: &Model) -> String {
    let listing = model.listing();
    listing.rows[listing.selected].cells[0].text.clone()
}

#[test]
fn every_page_fits_a_small_and_a_large_screen() {
    let mut model = model();
    for (digit, page) in ('1'..).zip(Page::ALL) {
        press(&mut model, &[KeyCode::Char(digit)]);
        for (width, height) in [(80, 24), (120, 40)] {
            let name = format!("{}_{width}x{height}", page.title());
            insta::assert_snapshot!(name, screen(&model, width, height));
        }
    }
}

#[test]
fn what_is_opened_is_told_whole() {
    for (digit, page) in ('2'..).zip(&Page::ALL[1..]) {
        let mut model = model();
        press(&mut model, &[KeyCode::Char(digit), KeyCode::Enter]);
        insta::assert_snapshot!(format!("opened_{}", page.title()), screen(&model, 80, 24));
    }
}

#[test]
fn what_is_not_there_is_said() {
    let mut model = Model::new("/run/usher/control.sock".into(), "2s".into());
    insta::assert_snapshot!("nothing_yet", screen(&model, 80, 24));
    model.hear(News::Stats(stats(1.0, 5)));
    insta::assert_snapshot!("no_rates_yet", screen(&model, 80, 24));
    model.hear(News::Lost("the engine has gone".into()));
    press(&mut model, &[KeyCode::Char('p')]);
    insta::assert_snapshot!("lost_and_paused", screen(&model, 80, 24));
}

#[test]
fn keys_are_explained() {
    let mut model = model();
    press(&mut model, &letters("?"));
    insta::assert_snapshot!("keys", screen(&model, 80, 24));
    press(&mut model, &letters("x"));
    assert!(!model.helps);
}

#[test]
fn any_size_can_be_drawn() {
    let mut model = model();
    for digit in '1'..='6' {
        press(&mut model, &[KeyCode::Char(digit)]);
        for (width, height) in [(1, 1), (7, 3), (20, 10), (79, 5), (300, 2)] {
            screen(&model, width, height);
        }
    }
}

#[test]
fn columns_sort_both_ways() {
    let mut model = model();
    press(&mut model, &letters("3"));
    assert_eq!(names(&model), ["hello", "old", "web"]);
    press(&mut model, &letters("r"));
    assert_eq!(names(&model), ["web", "old", "hello"]);
    press(&mut model, &letters("ssss"));
    assert_eq!(names(&model), ["web", "hello", "old"], "by connections opened, the most first");
    press(&mut model, &letters("r"));
    assert_eq!(names(&model), ["old", "hello", "web"]);
    press(&mut model, &letters("SSSSS"));
    assert_eq!(model.view().sort, 8, "before the first comes the last");
    press(&mut model, &letters("4s3"));
    assert_eq!(model.view().sort, 8, "each page has its own");
}

#[test]
fn a_filter_hides_what_it_does_not_find() {
    let mut model = model();
    press(&mut model, &letters("3/WEq"));
    assert!(model.is_typing && names(&model).is_empty(), "q is a letter");
    press(&mut model, &[KeyCode::Backspace, KeyCode::Enter]);
    assert_eq!((names(&model), model.listing().of), (vec!["web".to_owned()], 3));
    press(&mut model, &[KeyCode::Esc]);
    assert_eq!((names(&model).len(), model.page), (3, Page::Services));
    press(&mut model, &letters("/respond"));
    assert_eq!(names(&model), ["hello"], "any column of words");
    press(&mut model, &[KeyCode::Esc]);
    assert!(!model.is_typing && model.view().filter.is_empty());
    press(&mut model, &letters("/nothing"));
    press(&mut model, &[KeyCode::Enter, KeyCode::Enter, KeyCode::Down]);
    assert_eq!(model.opened, None, "there is no row to open");
}

#[test]
fn a_row_stays_selected_wherever_it_moves() {
    let mut model = model();
    press(&mut model, &letters("4"));
    press(&mut model, &[KeyCode::Down, KeyCode::Down, KeyCode::Down, KeyCode::Up]);
    assert_eq!(selected(&model), "10.20.0.3:80");
    press(&mut model, &letters("rG"));
    assert_eq!(selected(&model), "10.20.0.2:80");
    press(&mut model, &letters("r"));
    assert_eq!((selected(&model), model.listing().selected), ("10.20.0.2:80".into(), 0));
    press(&mut model, &[KeyCode::PageDown]);
    assert_eq!(selected(&model), "[fd00:20::2]:80");
    let mut gone = stats(3726.0, 1100);
    gone["backends"].as_array_mut().unwrap().remove(1);
    model.hear(News::Stats(gone));
    assert_eq!(model.listing().selected, 0);
}

#[test]
fn a_row_opens_and_closes() {
    let mut model = model();
    press(&mut model, &letters("4/20.0.3"));
    press(&mut model, &[KeyCode::Enter, KeyCode::Enter]);
    assert_eq!(model.opened.as_deref(), Some("10.20.0.3:80 of web"));
    assert!(names(&model).contains(&"refused".into()), "the filter is the list's");
    press(&mut model, &letters("/ref"));
    press(&mut model, &[KeyCode::Enter]);
    assert_eq!(names(&model), ["refused"]);
    let mut without = stats(3726.0, 1100);
    without["backends"] = json!([]);
    model.hear(News::Stats(without));
    assert_eq!(model.listing().notes, ["It is gone."]);
    press(&mut model, &[KeyCode::Esc, KeyCode::Esc]);
    assert_eq!((model.opened.as_ref(), model.page), (None, Page::Backends));
    assert_eq!(model.view().filter, "20.0.3");
    press(&mut model, &[KeyCode::Esc, KeyCode::Esc]);
    assert_eq!(model.page, Page::Overview);
}

#[test]
fn pages_turn_both_ways() {
    let mut model = model();
    press(&mut model, &[KeyCode::BackTab]);
    assert_eq!(model.page, Page::Ports);
    press(&mut model, &[KeyCode::Enter, KeyCode::Tab]);
    assert_eq!((model.page, model.opened.as_ref()), (Page::Overview, None));
}

#[test]
fn some_keys_leave() {
    let mut model = model();
    let control = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    press(&mut model, &letters("3/"));
    assert_eq!(model.key(control), Wish::Leave);
    press(&mut model, &[KeyCode::Esc]);
    assert_eq!(model.key(KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE)), Wish::Leave);
}

#[test]
fn a_pause_keeps_what_is_shown() {
    let mut model = model();
    press(&mut model, &letters("p"));
    let before = screen(&model, 80, 24);
    model.hear(News::Lost("the engine has gone".into()));
    assert_ne!(screen(&model, 80, 24), before, "that it is lost is said");
    model.hear(News::Stats(stats(3726.0, 9000)));
    assert_eq!(screen(&model, 80, 24), before);
    press(&mut model, &letters("p"));
    model.hear(News::Stats(stats(3726.5, 9000)));
    assert_eq!(model.history.latest().unwrap()["uptime_s"], 3726.5);
}

#[test]
fn an_engine_that_was_lost_has_no_past() {
    let mut model = model();
    let rate = |model: &Model| model.history.tracks("workers")[0].rate("received");
    model.hear(News::Lost("the engine has gone".into()));
    assert!(rate(&model).is_some(), "what was last heard stays");
    model.hear(News::Stats(stats(3800.0, 2000)));
    assert_eq!((rate(&model), model.lost.as_ref()), (None, None));
    model.hear(News::Stats(stats(3801.0, 2001)));
    assert_eq!(rate(&model), Some(95.0 * 50.0));
}
