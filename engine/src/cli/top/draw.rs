//! A model on a screen. Pure: the same model gives the same screen. Made for 80 × 24 and up; smaller ones are cut off.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Cell as Drawn, Row as DrawnRow};
use ratatui::widgets::{Paragraph, Table, TableState};

use super::history::Track;
use super::model::Model;
use super::page::{Cell, Column, Kind, Page, Row, Tone, is_drop};
use super::units::{amount, percent, uptime};

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const MARKED: Style = Style::new().add_modifier(Modifier::REVERSED);
const ALARM: Style =
    Style::new().fg(Color::Red).add_modifier(Modifier::BOLD.union(Modifier::REVERSED));

/// What the keys do.
const HELP: &str = "
1 to 6, Tab   a page: overview, workers, services, backends, drops, ports
↑ ↓ PgUp PgDn Home End, or k j g G   another row
Enter         everything about the row; the workers that dropped for a reason
s S           sort by the next column, the one before
r             the other way round
/             only rows with this text; Enter keeps it, Esc drops it
Esc           back: the filter goes, then what was opened, then the page
p             pause: nothing changes until p again
q             quit

POLLS is the share of the rounds that found frames, TIME that of the time that
they took. HALF counts half-open connections with a record; those answered by
cookie have none: COOK/s are SYNs answered so. P50 and P99 are times from SYN to
third ACK in the last 10 s, without cookies. A dash: not known yet.";

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let lost = u16::from(model.lost.is_some());
    let [first, alarm, one] = [3, lost, 1].map(Constraint::Length);
    let heights = [first, alarm, one, Constraint::Fill(1), one];
    let [top, told, turned, middle, bottom] = Layout::vertical(heights).areas(frame.area());
    frame.render_widget(Paragraph::new(head(model)), top);
    let status = Line::from(status(model)).right_aligned();
    frame.render_widget(status, Rect { height: top.height.min(1), ..top });
    if let Some(cause) = &model.lost {
        let text = format!(" no answer, trying again: {cause}");
        frame.render_widget(Paragraph::new(text).style(ALARM), told);
    }
    frame.render_widget(tabs(model), turned);
    body(frame, model, middle);
    frame.render_widget(foot(model), bottom);
}

/// The engine, and the sums over its workers.
fn head(model: &Model) -> Text<'static> {
    let history = &model.history;
    let Some(stats) = history.latest() else {
        return Text::from(vec![
            Line::from(Span::styled("usher", BOLD)),
            Line::from("nothing heard yet"),
        ]);
    };
    let workers = history.tracks("workers");
    let sum = |rate: &dyn Fn(&Track<'_>) -> Option<f64>| {
        workers.iter().map(rate).sum::<Option<f64>>().map_or_else(|| "-".into(), amount)
    };
    let rate = |key: &str| sum(&|worker| worker.rate(key));
    let dropped = sum(&|worker| worker.rate_of(is_drop));
    let flows = |meant: fn(&str) -> bool| {
        amount(workers.iter().map(|one| one.flows(meant)).sum::<u64>() as f64)
    };
    let busiest = workers.iter().filter_map(|one| one.share("busy_us", "time_us"));
    let busiest = busiest.reduce(f64::max).map_or_else(|| "-".into(), percent);
    let version = stats["version"].as_str().unwrap_or_default();
    let up = uptime(stats["uptime_s"].as_f64().unwrap_or_default() as u64);
    let title = vec![
        Span::styled(format!("usher {version}"), BOLD),
        format!("  up {up}  {}", model.place).into(),
    ];
    let frames = [
        ("busiest", busiest),
        ("in/s", rate("received")),
        ("out/s", rate("sent")),
        ("dropped/s", dropped),
        ("flows", flows(|state| state != "SPENT")),
        ("half-open", flows(|state| state == "SYN_RCVD")),
    ];
    let handshakes = [
        ("opened/s", rate("handshakes_completed")),
        ("closed/s", rate("flows_ended")),
        ("cookies/s sent", rate("cookies_sent")),
        ("accepted", rate("cookies_accepted")),
        ("rejected", rate("cookies_rejected")),
    ];
    Text::from(vec![Line::from(title), figures(&frames), figures(&handshakes)])
}

fn figures(pairs: &[(&'static str, String)]) -> Line<'static> {
    let spans = pairs.iter().flat_map(|(name, value)| {
        [Span::styled(format!("{name} "), DIM), Span::styled(format!("{value:<6}"), BOLD)]
    });
    spans.collect::<Vec<_>>().into()
}

fn status(model: &Model) -> Span<'static> {
    match model.is_paused {
        true => Span::styled(" paused ", MARKED),
        false => Span::styled(format!(" every {}", model.interval), DIM),
    }
}

fn tabs(model: &Model) -> Line<'static> {
    let tab = |(index, page): (usize, &Page)| {
        let style = if *page == model.page { MARKED } else { Style::new() };
        [Span::styled(format!(" {} {} ", index + 1, page.title()), style), Span::raw(" ")]
    };
    Page::ALL.iter().enumerate().flat_map(tab).collect::<Vec<_>>().into()
}

fn foot(model: &Model) -> Line<'static> {
    let text = match (model.is_typing, model.page, &model.opened) {
        (true, ..) => {
            return format!(
                "only rows with: {}_   Enter keeps it, Esc drops it",
                model.view().filter
            )
            .into();
        }
        (_, Page::Overview, _) => "q quit  ? keys  1-6 Tab page  p pause",
        (.., None) => {
            "q quit  ? keys  1-6 Tab page  ↑↓ row  Enter open  s r sort  / filter  p pause"
        }
        (.., Some(_)) => "q quit  ? keys  Esc back  ↑↓ row  s r sort  / filter  p pause",
    };
    Span::styled(text, DIM).into()
}

fn body(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    if model.helps {
        return frame.render_widget(Paragraph::new(HELP.trim_start()), area);
    }
    if model.history.latest().is_none() {
        return;
    }
    match model.page {
        Page::Overview => overview(frame, model, area),
        _ => listing(frame, model, area),
    }
}

/// The first rows of the pages, as many of each as there is room for.
fn overview(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let pages = &Page::ALL[1..];
    let tables: Vec<_> = pages.iter().map(|page| (page.columns(), model.rows(*page))).collect();
    let lengths: Vec<_> = tables.iter().map(|(_, rows)| rows.len()).collect();
    // each has its heading, and a line after it where there is room
    let room = usize::from(area.height).saturating_sub(2 * tables.len() - 1);
    let heights = shares(&lengths, room);
    let mut rest = area;
    for ((columns, rows), height) in tables.iter().zip(heights) {
        let height = (height as u16 + 1).min(rest.height);
        let place = Rect { height, ..rest };
        frame.render_widget(table(columns, rows, None), place);
        rest = below(rest, height);
        let left_out = rows.len().saturating_sub(usize::from(height.saturating_sub(1)));
        if left_out > 0 {
            let line = Line::styled(format!("and {left_out} more"), DIM);
            frame.render_widget(line, Rect { height: 1.min(rest.height), ..rest });
        }
        rest = below(rest, 1);
    }
}

/// What is left of an area without its first `height` lines.
fn below(area: Rect, height: u16) -> Rect {
    let height = height.min(area.height);
    Rect { y: area.y + height, height: area.height - height, ..area }
}

/// Shares `room` out: nobody gets more than is wanted, and who gets less than is wanted gets no less than others.
fn shares(wanted: &[usize], room: usize) -> Vec<usize> {
    let mut given = vec![0; wanted.len()];
    for _ in 0..room {
        let wanting = (0..wanted.len()).filter(|&index| given[index] < wanted[index]);
        let Some(poorest) = wanting.min_by_key(|&index| given[index]) else { break };
        given[poorest] += 1;
    }
    given
}

/// Lines of whole words, `width` letters at most where a word is no longer.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("one to begin with");
        match last.chars().count() + 1 + word.chars().count() {
            _ if last.is_empty() => last.push_str(word),
            length if length <= width => *last = format!("{last} {word}"),
            _ => lines.push(word.into()),
        }
    }
    lines
}

/// The table in front.
fn listing(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let listing = model.listing();
    let view = model.view();
    let (shown, of) = (listing.rows.len(), listing.of);
    let column = listing.columns.get(view.sort).map_or("", |column| column.title);
    let way = if view.descends { "descending" } else { "ascending" };
    let subject = match &model.opened {
        Some(name) => format!("{} {name}: ", model.page.title()),
        None => String::new(),
    };
    let filter = match view.filter.as_str() {
        "" => String::new(),
        filter => format!(", with \"{filter}\""),
    };
    let mut lines =
        vec![Line::styled(format!("{subject}{shown} of {of}, by {column}, {way}{filter}"), DIM)];
    let notes = listing.notes.iter().flat_map(|note| wrapped(note, area.width.into()));
    lines.extend(notes.map(Line::raw));
    let height = lines.len() as u16;
    let [top, bottom] =
        Layout::vertical([Constraint::Length(height), Constraint::Fill(1)]).areas(area);
    frame.render_widget(Paragraph::new(lines), top);
    let mut state = TableState::new().with_selected(listing.selected);
    let table = table(listing.columns, &listing.rows, Some(view.sort));
    frame.render_stateful_widget(table.row_highlight_style(MARKED), bottom, &mut state);
}

fn table(columns: &[Column], rows: &[Row], sorted: Option<usize>) -> Table<'static> {
    let widths = columns.iter().map(|column| match column.kind {
        Kind::Text => Constraint::Min(column.width),
        Kind::Word | Kind::Figure => Constraint::Length(column.width),
    });
    let heading = columns.iter().enumerate().map(|(index, column)| {
        let style =
            if sorted == Some(index) { BOLD.add_modifier(Modifier::UNDERLINED) } else { BOLD };
        aligned(column, column.title.into(), style)
    });
    let rows = rows.iter().map(|row| {
        let cells = columns.iter().zip(&row.cells);
        DrawnRow::new(cells.map(|(column, cell)| aligned(column, cell.text.clone(), tone(cell))))
    });
    Table::new(rows.collect::<Vec<_>>(), widths.collect::<Vec<_>>())
        .header(DrawnRow::new(heading.collect::<Vec<_>>()))
        .column_spacing(1)
}

fn aligned(column: &Column, text: String, style: Style) -> Drawn<'static> {
    let line = Line::styled(text, style);
    Drawn::from(if column.kind == Kind::Figure { line.right_aligned() } else { line })
}

fn tone(cell: &Cell) -> Style {
    match cell.tone {
        Tone::Plain => Style::new(),
        Tone::Good => Style::new().fg(Color::Green),
        Tone::Notable => Style::new().fg(Color::Yellow),
        Tone::Bad => Style::new().fg(Color::Red),
    }
}
