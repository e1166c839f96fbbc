//! Plots of a report, drawn as SVG.

use std::error::Error;
use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::Unit;
use crate::latency::Latency;

/// One picture.
#[derive(Clone, Debug)]
pub enum Plot {
    /// Lines over a common axis, such as rates over time.
    Lines {
        /// What it shows.
        title: String,
        /// What runs from left to right, with its unit.
        x: String,
        /// The unit of what runs upward.
        unit: Unit,
        /// How it runs upward.
        scale: Scale,
        /// The lines.
        series: Vec<Series>,
    },
    /// Times by percentile, both on a logarithmic axis: 90, 99 and 99.9 % are equally far apart.
    Percentiles {
        /// What it shows.
        title: String,
        /// The times.
        latencies: Vec<Latency>,
    },
    /// Figures side by side, from 0.
    Bars {
        /// What it shows.
        title: String,
        /// Their unit.
        unit: Unit,
        /// Whose, and how much.
        bars: Vec<(String, f64)>,
    },
}

/// How an axis runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scale {
    /// Evenly, from 0.
    Linear,
    /// By powers of ten; what is not above 0 has no place on it.
    Logarithmic,
}

/// A line.
#[derive(Clone, Debug)]
pub struct Series {
    /// What it is called.
    pub name: String,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// Why a plot could not be drawn.
pub(super) type DrawError = Box<dyn Error + Send + Sync>;

/// In pixels.
const SIZE: (u32, u32) = (860, 360);
const FONT: (&str, u32) = ("sans-serif", 13);
const TITLE: (&str, u32) = ("sans-serif", 17);

impl Plot {
    /// The picture as SVG; empty if there is nothing to show.
    pub(super) fn svg(&self) -> Result<String, DrawError> {
        match self {
            Self::Lines { title, x, unit, scale, series } => {
                let across = Axis { name: x, scale: Scale::Linear, label: &|x| format!("{x}") };
                let up = Axis { name: "", scale: *scale, label: &|value| unit.show(value) };
                lines(title, &across, &up, series)
            }
            Self::Percentiles { title, latencies } => {
                let series: Vec<Series> = latencies.iter().map(curve).collect();
                let scale = Scale::Logarithmic;
                let across = Axis { name: "percentile", scale, label: &percentile };
                let up = Axis { name: "", scale, label: &|ns| Unit::Nanoseconds.show(ns) };
                lines(title, &across, &up, &series)
            }
            Self::Bars { title, unit, bars } => draw_bars(title, *unit, bars),
        }
    }
}

/// One direction of a plot.
struct Axis<'a> {
    name: &'a str,
    scale: Scale,
    label: &'a dyn Fn(f64) -> String,
}

impl Axis<'_> {
    /// Where a value stands: a logarithmic axis is drawn as an even one of exponents.
    fn place(&self, value: f64) -> Option<f64> {
        match self.scale {
            Scale::Linear => Some(value),
            Scale::Logarithmic => (value > 0.0).then(|| value.log10()),
        }
    }

    fn label(&self, place: f64) -> String {
        match self.scale {
            Scale::Linear => (self.label)(place),
            Scale::Logarithmic => (self.label)(10f64.powf(place)),
        }
    }

    /// The range for these places, and how many labels fit: whole powers of ten where it is logarithmic.
    fn range(&self, places: impl Iterator<Item = f64>) -> Option<(Range<f64>, usize)> {
        let (low, high) = places.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), place| {
            (low.min(place), high.max(place))
        });
        (low <= high).then(|| match self.scale {
            Scale::Linear => (low.min(0.0)..room(high), 10),
            Scale::Logarithmic => {
                let (low, high) = (low.floor(), high.ceil().max(low.floor() + 1.0));
                (low..high, (high - low) as usize + 1)
            }
        })
    }
}

/// A little more than the largest value, so that it does not touch the frame; something if that is 0.
fn room(high: f64) -> f64 {
    if high > 0.0 { high * 1.05 } else { 1.0 }
}

/// Each percentile p stands at 1 / (1 - p); the maximum at ten times the last before it.
fn curve(latency: &Latency) -> Series {
    let mut points: Vec<(f64, f64)> = Vec::new();
    for (percent, ns) in latency.curve() {
        let last = points.last().map_or(1.0, |point| point.0);
        let rest = 1.0 - percent / 100.0;
        points.push((if rest > 0.0 { 1.0 / rest } else { last * 10.0 }, ns as f64));
    }
    Series { name: latency.name().to_owned(), points }
}

/// What stands at `x` on that axis.
fn percentile(x: f64) -> String {
    let digits = (x.log10() - 2.0).max(0.0).round() as usize;
    format!("{:.digits$} %", 100.0 - 100.0 / x)
}

type Root<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn builder<'a, 'b>(root: &'a Root<'b>, title: &str) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut builder = ChartBuilder::on(root);
    builder.caption(title, TITLE).margin(10).x_label_area_size(38).y_label_area_size(80);
    builder
}

fn lines(title: &str, across: &Axis, up: &Axis, series: &[Series]) -> Result<String, DrawError> {
    let placed = |(x, y): &(f64, f64)| Some((across.place(*x)?, up.place(*y)?));
    let series: Vec<(&str, Vec<(f64, f64)>)> = series
        .iter()
        .map(|one| (one.name.as_str(), one.points.iter().filter_map(placed).collect()))
        .collect();
    let points = || series.iter().flat_map(|(_, points)| points);
    let horizontal = across.range(points().map(|point| point.0));
    let vertical = up.range(points().map(|point| point.1));
    let (Some((xs, x_labels)), Some((ys, y_labels))) = (horizontal, vertical) else {
        return Ok(String::new());
    };
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    let mut chart = builder(&root, title).build_cartesian_2d(xs, ys)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .label_style(FONT)
        .x_desc(across.name)
        .x_labels(x_labels)
        .y_labels(y_labels)
        .x_label_formatter(&|place| across.label(*place))
        .y_label_formatter(&|place| up.label(*place))
        .draw()?;
    for (index, (name, points)) in series.into_iter().enumerate() {
        let style = Palette99::pick(index).stroke_width(2);
        let drawn = chart.draw_series(LineSeries::new(points, style))?;
        drawn.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
    }
    // rates begin at 0 and percentiles rise: there is room below
    let position = SeriesLabelPosition::LowerRight;
    let background = WHITE.mix(0.8);
    let mut labels = chart.configure_series_labels();
    labels.position(position).label_font(FONT).background_style(background).draw()?;
    root.present()?;
    drop(chart);
    drop(root);
    Ok(svg)
}

fn draw_bars(title: &str, unit: Unit, bars: &[(String, f64)]) -> Result<String, DrawError> {
    if bars.is_empty() {
        return Ok(String::new());
    }
    let highest = bars.iter().map(|bar| bar.1).fold(0.0, f64::max);
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    let across = (0..bars.len()).into_segmented();
    let mut chart = builder(&root, title).build_cartesian_2d(across, 0.0..room(highest))?;
    let name = |place: &SegmentValue<usize>| match place {
        SegmentValue::CenterOf(index) => bars
            .get(*index)
            .map_or_else(String::new, |bar| format!("{}: {}", bar.0, unit.show(bar.1))),
        SegmentValue::Exact(_) | SegmentValue::Last => String::new(),
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .label_style(FONT)
        .x_labels(bars.len())
        .x_label_formatter(&name)
        .y_label_formatter(&|value| unit.show(*value))
        .draw()?;
    chart.draw_series(bars.iter().enumerate().map(|(index, (_, value))| {
        let corners = [(SegmentValue::Exact(index), 0.0), (SegmentValue::Exact(index + 1), *value)];
        let mut bar = Rectangle::new(corners, Palette99::pick(index).mix(0.8).filled());
        bar.set_margin(0, 0, 24, 24);
        bar
    }))?;
    root.present()?;
    drop(chart);
    drop(root);
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency() -> Latency {
        let mut latency = Latency::new("SYN to SYN-ACK");
        (1..=10_000).for_each(|ns| latency.record(ns * 100));
        latency
    }

    #[test]
    fn every_kind_of_plot_is_drawn_with_its_names() {
        let series = vec![Series { name: "usher".into(), points: vec![(0.0, 10.0), (1.0, 1e6)] }];
        let (x, unit) = ("time, s".to_owned(), Unit::PerSecond);
        let rate = |scale| Plot::Lines {
            title: "rate".into(),
            x: x.clone(),
            unit,
            scale,
            series: series.clone(),
        };
        let bars = vec![("usher".to_owned(), 17e3), ("haproxy".to_owned(), 12e3)];
        for (plot, names) in [
            (rate(Scale::Linear), ["rate", "usher", "1.00M/s"]),
            (rate(Scale::Logarithmic), ["rate", "usher", "10.0k/s"]),
            (
                Plot::Percentiles { title: "times".into(), latencies: vec![latency()] },
                ["times", "SYN to SYN-ACK", "99.9 %"],
            ),
            (
                Plot::Bars { title: "peers".into(), unit, bars },
                ["peers", "usher: 17.0k/s", "haproxy: 12.0k/s"],
            ),
        ] {
            let svg = plot.svg().expect("drawn");
            for name in names {
                assert!(svg.contains(name), "{name} in {plot:?}\n{svg}");
            }
        }
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        let latencies = vec![Latency::new("none")];
        let plot = Plot::Percentiles { title: "times".into(), latencies };
        assert_eq!(plot.svg().expect("drawn"), "");
    }

    #[test]
    fn a_logarithmic_axis_spans_whole_powers_of_ten() {
        let axis = Axis { name: "", scale: Scale::Logarithmic, label: &|x| format!("{x}") };
        let places = [5.0, 300.0].into_iter().filter_map(|value| axis.place(value));
        assert_eq!(axis.range(places), Some((0.0..3.0, 4)));
        assert_eq!((axis.place(0.0), axis.label(2.0)), (None, "100".to_owned()));
    }

    #[test]
    fn percentiles_are_as_far_apart_as_their_rests_divide() {
        assert_eq!(percentile(10.0), "90 %");
        assert_eq!(percentile(1000.0), "99.9 %");
        let mut few = Latency::new("few");
        (1..=1000).for_each(|ns| few.record(ns));
        let points = curve(&few).points;
        assert_eq!(points.last().map(|point| point.1), Some(1000.0));
        assert!(points.is_sorted_by(|one, next| one.0 <= next.0));
    }
}
