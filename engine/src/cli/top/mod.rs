//! `usher top`: a live screen of a running engine.
//!
//! | file | holds |
//! |---|---|
//! | `history` | the engine's last answers, and rates between them |
//! | `page` | what is listed of them |
//! | `model` | what is on the screen, and what keys do to it |
//! | `draw` | the screen |
//! | `units` | numbers in few letters |
//!
//! A thread asks the engine, so that an engine that hangs does not hang the keys. The terminal is put back however the
//! program ends, but by SIGKILL.

mod draw;
mod history;
mod model;
mod page;
#[cfg(test)]
mod tests;
mod units;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::Args;
use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde_json::{Value, json};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use self::model::{Model, News, Wish};
use super::{DONE, FAILED, MISUSED, Running, complain, connect};
use crate::control::Connection;

/// How long a key or a signal may wait to be seen with the screen unchanged: well below what is felt.
const NAP: Duration = Duration::from_millis(50);

/// The shortest interval. Below it rates are mostly noise, and the engine is asked more than it is worth.
const SHORTEST: Duration = Duration::from_millis(100);

#[derive(Args, Debug)]
pub(super) struct Options {
    /// How often the engine is asked: 500ms, 2s
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = interval)]
    interval: Duration,
    #[command(flatten)]
    running: Running,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|cause| cause.to_string())?;
    if interval < SHORTEST {
        return Err(format!("at least {} is needed", humantime::format_duration(SHORTEST)));
    }
    Ok(interval)
}

/// Shows the screen until it is left; returns the exit code.
pub(super) fn top(options: &Options) -> u8 {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        complain("`usher top` needs a terminal; `usher stats --json --watch` writes for programs");
        return MISUSED;
    }
    let (engine, socket) = match connect(&options.running) {
        Ok(reached) => reached,
        Err(code) => return code,
    };
    let interval = options.interval;
    let model =
        Model::new(socket.display().to_string(), humantime::format_duration(interval).to_string());
    let (tell, news) = bounded(1);
    let asked = thread::Builder::new().name("asks".into());
    let asked = asked.spawn(move || ask(engine, &socket, interval, &tell));
    let shown = asked.and_then(|_| show(model, &news));
    match shown {
        Ok(()) => DONE,
        Err(cause) => {
            complain(&format!("the terminal: {cause}"));
            FAILED
        }
    }
}

/// Asks the engine at every interval, and reaches for it again when it is lost, until nobody listens.
fn ask(engine: Connection, socket: &Path, interval: Duration, tell: &Sender<News>) {
    let mut engine = Some(engine);
    loop {
        let answer = reach(engine.take(), socket);
        let news = match answer {
            Ok((reached, stats)) => {
                engine = Some(reached);
                News::Stats(stats)
            }
            Err(cause) => News::Lost(cause.to_string()),
        };
        if tell.send(news).is_err() {
            return;
        }
        thread::park_timeout(interval);
    }
}

/// One answer, by the connection that there is or a new one.
fn reach(engine: Option<Connection>, socket: &Path) -> io::Result<(Connection, Value)> {
    let mut engine = engine.map_or_else(|| Connection::open(socket), Ok)?;
    let stats = engine.ask(&json!({ "command": "stats" }))?;
    Ok((engine, Value::Object(stats)))
}

/// Takes the terminal, shows what is heard until a key or a signal says that it is enough, and puts the terminal back.
fn show(model: Model, news: &Receiver<News>) -> io::Result<()> {
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&ended))?;
    }
    // it also puts the terminal back before a panic is told
    let mut terminal = ratatui::try_init()?;
    let shown = turn(&mut terminal, model, news, &ended);
    if let Err(cause) = &shown
        && cause.kind() == io::ErrorKind::BrokenPipe
    {
        // there is nothing to put back, and it would panic when it cannot say so
        std::mem::forget(terminal);
        return shown;
    }
    ratatui::try_restore()?;
    shown
}

/// Waits so long for a key; a broken pipe if the terminal was closed, of which crossterm would read for ever.
fn wait_for_key(most: Duration) -> io::Result<()> {
    let keyboard = io::stdin();
    let mut asked = [PollFd::new(&keyboard, PollFlags::IN)];
    let most = Timespec::try_from(most).map_err(io::Error::other)?;
    match poll(&mut asked, Some(&most)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(cause) => return Err(cause.into()),
    }
    if asked[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) {
        return Err(io::Error::new(io::ErrorKind::BrokenPipe, "it was closed"));
    }
    Ok(())
}

fn turn(
    terminal: &mut DefaultTerminal,
    mut model: Model,
    news: &Receiver<News>,
    ended: &AtomicBool,
) -> io::Result<()> {
    let mut is_new = true;
    while !ended.load(Ordering::Relaxed) {
        match news.try_recv() {
            Ok(heard) => {
                model.hear(heard);
                is_new = true;
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => {
                return Err(io::Error::other("nobody asks the engine any more"));
            }
        }
        if std::mem::take(&mut is_new) {
            terminal.draw(|frame| draw::draw(frame, &model))?;
        }
        wait_for_key(NAP)?;
        if !event::poll(Duration::ZERO)? {
            continue;
        }
        is_new = true;
        if let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
            && model.key(key) == Wish::Leave
        {
            break;
        }
    }
    Ok(())
}
