//! What is on the screen, and what keys do to it. Pure: nothing here knows of terminals, sockets or time.

use std::cmp::Ordering;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::Value;

use super::history::History;
use super::page::{Column, Kind, Opened, Page, Row};

/// How far a page key goes, in rows.
const LEAP: usize = 10;

/// The longest text to filter by, in letters: what the screen has room for.
const FILTER_MAX: usize = 40;

/// What the engine was heard to say.
#[derive(Debug)]
pub(super) enum News {
    /// The answer to `stats`.
    Stats(Value),
    /// Nothing, and why.
    Lost(String),
}

/// What a key asks of the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    /// To go on.
    Stay,
    /// To end.
    Leave,
}

/// How a table is looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    /// The column that it is sorted by.
    pub(super) sort: usize,
    /// Whether the largest come first.
    pub(super) descends: bool,
    /// Rows with this text in a column of words are shown.
    pub(super) filter: String,
    /// The name of the row that keys are for; the first one if it is not there.
    selected: Option<String>,
}

/// A table as it is to be shown.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) notes: Vec<String>,
    pub(super) columns: &'static [Column],
    pub(super) rows: Vec<Row>,
    /// How many rows there are without the filter.
    pub(super) of: usize,
    /// The index of the selected one.
    pub(super) selected: usize,
}

/// Everything that is on the screen.
#[derive(Debug)]
pub(super) struct Model {
    /// Where the engine is asked.
    pub(super) place: String,
    /// How often, as people write it.
    pub(super) interval: String,
    pub(super) history: History,
    /// Why the engine does not answer, while it does not.
    pub(super) lost: Option<String>,
    /// Whether what it says next may be said by another engine.
    was_lost: bool,
    /// Whether what the engine says is not looked at.
    pub(super) is_paused: bool,
    /// Whether keys are letters of the filter.
    pub(super) is_typing: bool,
    /// Whether the keys are explained.
    pub(super) helps: bool,
    pub(super) page: Page,
    /// The row of the page that everything is told of.
    pub(super) opened: Option<String>,
    /// By page; the last is that of an opened row.
    views: [View; Page::ALL.len() + 1],
}

impl Model {
    pub(super) fn new(place: String, interval: String) -> Self {
        let views = std::array::from_fn(|index| {
            let (sort, descends) = Page::ALL.get(index).map_or((0, false), |page| page.order());
            View { sort, descends, ..View::default() }
        });
        Self {
            place,
            interval,
            history: History::default(),
            lost: None,
            was_lost: false,
            is_paused: false,
            is_typing: false,
            helps: false,
            page: Page::Overview,
            opened: None,
            views,
        }
    }

    /// Hears what came of asking the engine.
    pub(super) fn hear(&mut self, news: News) {
        match news {
            News::Lost(cause) => (self.lost, self.was_lost) = (Some(cause), true),
            News::Stats(stats) => {
                self.lost = None;
                if self.is_paused {
                    return;
                }
                if std::mem::take(&mut self.was_lost) {
                    self.history.forget();
                }
                self.history.push(stats);
            }
        }
    }

    /// How the table in front is looked at.
    pub(super) fn view(&self) -> &View {
        let opened = self.opened.as_ref().map(|_| Page::ALL.len());
        &self.views[opened.unwrap_or(self.page as usize)]
    }

    fn view_mut(&mut self) -> &mut View {
        let opened = self.opened.as_ref().map(|_| Page::ALL.len());
        &mut self.views[opened.unwrap_or(self.page as usize)]
    }

    /// The table in front.
    pub(super) fn listing(&self) -> Listing {
        let Opened { notes, columns, rows } = match &self.opened {
            Some(name) => self.page.open(name, &self.history),
            None => Opened {
                notes: Vec::new(),
                columns: self.page.columns(),
                rows: self.page.rows(&self.history),
            },
        };
        let (view, of) = (self.view(), rows.len());
        let mut rows = rows;
        rows.retain(|row| passes(row, &view.filter));
        sort(&mut rows, view);
        let selected = rows.iter().position(|row| Some(&row.name) == view.selected.as_ref());
        Listing { notes, columns, rows, of, selected: selected.unwrap_or(0) }
    }

    /// The rows of a page that is not in front, all of them.
    pub(super) fn rows(&self, page: Page) -> Vec<Row> {
        let mut rows = page.rows(&self.history);
        sort(&mut rows, &self.views[page as usize]);
        rows
    }

    /// Does what a key is for.
    pub(super) fn key(&mut self, key: KeyEvent) -> Wish {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => return Wish::Leave,
            _ if control => {}
            code if self.is_typing => self.type_filter(code),
            KeyCode::Char('q') => return Wish::Leave,
            _ if self.helps => self.helps = false,
            KeyCode::Char('?' | 'h') => self.helps = true,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char(digit @ '1'..='6') => self.turn_to(digit as usize - '1' as usize),
            KeyCode::Tab => self.turn_to(self.page as usize + 1),
            KeyCode::BackTab => self.turn_to(self.page as usize + Page::ALL.len() - 1),
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left => self.go_back(),
            _ if self.page == Page::Overview => {}
            code => self.look(code),
        }
        Wish::Stay
    }

    fn turn_to(&mut self, index: usize) {
        self.page = Page::ALL[index % Page::ALL.len()];
        self.opened = None;
    }

    /// Undoes one thing: the filter, then the opened row, then the page.
    fn go_back(&mut self) {
        if !self.view().filter.is_empty() {
            self.view_mut().filter.clear();
        } else if self.opened.take().is_none() {
            self.page = Page::Overview;
        }
    }

    /// Keys of a table.
    fn look(&mut self, code: KeyCode) {
        match code {
            KeyCode::Up | KeyCode::Char('k') => self.select(|at, _| at.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.select(|at, _| at + 1),
            KeyCode::PageUp => self.select(|at, _| at.saturating_sub(LEAP)),
            KeyCode::PageDown => self.select(|at, _| at + LEAP),
            KeyCode::Home | KeyCode::Char('g') => self.select(|_, _| 0),
            KeyCode::End | KeyCode::Char('G') => self.select(|_, last| last),
            KeyCode::Enter | KeyCode::Right => self.open(),
            KeyCode::Char('s' | '>') => self.sort_by(1),
            KeyCode::Char('S' | '<') => self.sort_by(-1),
            KeyCode::Char('r') => self.view_mut().descends ^= true,
            KeyCode::Char('/') => self.is_typing = true,
            _ => {}
        }
    }

    /// Selects another row: `to` is told the index of the selected one and that of the last.
    fn select(&mut self, to: impl Fn(usize, usize) -> usize) {
        let listing = self.listing();
        let Some(last) = listing.rows.len().checked_sub(1) else { return };
        let row = &listing.rows[to(listing.selected, last).min(last)];
        self.view_mut().selected = Some(row.name.clone());
    }

    fn open(&mut self) {
        if self.opened.is_some() {
            return;
        }
        let listing = self.listing();
        let Some(row) = listing.rows.get(listing.selected) else { return };
        self.view_mut().selected = Some(row.name.clone());
        self.opened = Some(row.name.clone());
        let view = self.view_mut();
        (view.filter, view.selected) = (String::new(), None);
    }

    /// Sorts by a column further on. Figures begin with the largest, words with the first of the alphabet.
    fn sort_by(&mut self, step: isize) {
        let columns = self.listing().columns;
        let view = self.view_mut();
        let next = (view.sort + columns.len()).saturating_add_signed(step);
        view.sort = next % columns.len();
        view.descends = columns[view.sort].kind == Kind::Figure;
    }

    fn type_filter(&mut self, code: KeyCode) {
        let view = self.view_mut();
        match code {
            KeyCode::Char(letter) if view.filter.chars().count() < FILTER_MAX => {
                view.filter.push(letter)
            }
            KeyCode::Backspace => drop(view.filter.pop()),
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                view.filter.clear();
                self.is_typing = false;
            }
            _ => {}
        }
    }
}

/// Whether words of the row have `filter` in them, in letters of either case.
fn passes(row: &Row, filter: &str) -> bool {
    let filter = filter.to_lowercase();
    let mut words = row.cells.iter().filter(|cell| cell.weight.is_none());
    filter.is_empty() || words.any(|cell| cell.text.to_lowercase().contains(&filter))
}

/// Rows that are equal in the column stay in their order.
fn sort(rows: &mut [Row], view: &View) {
    rows.sort_by(|one, other| {
        let order = compare(one, other, view.sort);
        if view.descends { order.reverse() } else { order }
    });
}

fn compare(one: &Row, other: &Row, column: usize) -> Ordering {
    let (Some(one), Some(other)) = (one.cells.get(column), other.cells.get(column)) else {
        return Ordering::Equal;
    };
    match (one.weight, other.weight) {
        (Some(one), Some(other)) => one.total_cmp(&other),
        _ => one.text.cmp(&other.text),
    }
}
