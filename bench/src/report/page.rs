//! A report as a page: figures, plots, and what must be known of them, in one file that needs no other.

use std::fmt::Write as _;
use std::io;

use super::{Report, table};

/// The whole page.
pub(super) fn page(report: &Report) -> io::Result<String> {
    let title = format!("usher-bench {}", report.command);
    let mut body = format!("<h1>{title}</h1>\n");
    for sentence in report.sentences() {
        let _ = writeln!(body, "<p>{}</p>", escaped(&sentence));
    }
    let _ = writeln!(body, "<pre>{}</pre>", escaped(&table::tables(report)));
    for plot in &report.plots {
        body.push_str(&plot.svg().map_err(io::Error::other)?);
    }
    let parameters = serde_json::to_string_pretty(&report.parameters)?;
    let _ = writeln!(body, "<h2>Parameters</h2>\n<pre>{}</pre>", escaped(&parameters));
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\n\
         <style>body {{ font-family: sans-serif; max-width: 60em; margin: 2em auto }} svg {{ max-width: 100% }}</style>\n\
         {body}</html>\n"
    ))
}

/// Text that is no markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::super::{Plot, Unit};
    use super::*;

    #[test]
    fn a_page_holds_figures_plots_and_parameters() {
        let mut report = report();
        let bars = vec![("usher".to_owned(), 1.0)];
        report.plot(Plot::Bars { title: "peers".into(), unit: Unit::PerSecond, bars });
        let page = page(&report).expect("drawn");
        for part in ["<svg", "2.00M/s", "busy &lt;machine&gt;", "\"rate\": 7", "2 of 3 rounds"] {
            assert!(page.contains(part), "{part} in {page}");
        }
    }
}
