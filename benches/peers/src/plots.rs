//! The curves of `growth` as SVG files.

use std::path::Path;

use plotters::prelude::*;

use crate::results::Run;

/// A picture: its file, the group of measures, their parameter, the title and the name of the axis.
pub struct Plot {
    /// Without `.svg`.
    pub file: &'static str,
    /// Of the measures.
    pub group: &'static str,
    /// On the horizontal axis.
    pub parameter: &'static str,
    /// Above the picture.
    pub title: &'static str,
    /// Below it.
    pub axis: &'static str,
    /// Why the curve bends, for the reader of the page.
    pub why: &'static str,
}

/// All pictures.
pub const PLOTS: [Plot; 5] = [
    Plot {
        file: "ring-size",
        group: "ring size",
        parameter: "capacity",
        title: "Cost of a record by the size of the ring",
        axis: "data area, bytes",
        why: "It bends down where a ring outgrows the caches: in a smaller one every line that one side needs is dirty in the other's cache, and going \
              from cache to cache is slow; in a larger one it has gone to the cache that both share by then. Where that is differs between the machines \
              that we were given: between 1 and 2 MiB, or beyond 8. Beyond the shared cache lines come from memory.",
    },
    Plot {
        file: "payload",
        group: "payload",
        parameter: "bytes",
        title: "Cost of a record by its payload",
        axis: "payload, bytes",
        why: "Flat up to a line or two, while the header, the reductions of both CRCs and the fence cost more than the bytes do; then it grows with the lines \
              that go from core to core, and from some kilobytes on in proportion to them.",
    },
    Plot {
        file: "batch",
        group: "batch",
        parameter: "batch",
        title: "Cost of a record by the records per publication",
        axis: "records per publication",
        why: "Nearly flat: what a batch shares, one fence and the line of `tail`, costs no more than the checks and lines of a single record, which it cannot \
              share, and part of it passes while the other side works.",
    },
    Plot {
        file: "readers",
        group: "gating readers",
        parameter: "readers",
        title: "Cost of a record by the gating readers",
        axis: "gating readers",
        why: "The producer looks at one word of every reader after each publication: a straight line of a few instructions each, which a batch divides by its \
              length. Readers that really run add the lines that they take from the producer, and with more of them than cores they wait for each other.",
    },
    Plot {
        file: "producers",
        group: "producing threads",
        parameter: "threads",
        title: "Cost of a record by the threads that produce",
        axis: "producing threads",
        why: "Alone, a SharedProducer pays two atomic exchanges more than a Producer. Several take its lines from each other at every record that is left to \
              another, so the one that left it pauses, and the other goes on alone; a lock lets its waiters sleep, and its lines move for each try.",
    },
];

/// A picture of bars, one for each subject.
pub struct Bars {
    /// Without `.svg`.
    pub file: &'static str,
    /// Above the picture.
    pub title: &'static str,
    /// Of the measures.
    group: &'static str,
    with: &'static [(&'static str, u64)],
    quantity: &'static str,
}

/// The picture of the front page.
pub const BARS: Bars = Bars {
    file: "peers",
    title: "A record of 64 bytes from one process to another, ns (logarithmic)",
    group: "processes",
    with: &[("bytes", 64), ("batch", 1)],
    quantity: "ns per record",
};

/// Draws all of them into a directory; none for a group without measures.
pub fn draw_all(run: &Run, directory: &Path) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all(directory)?;
    draw_bars(run, &BARS, &directory.join(BARS.file).with_extension("svg"))?;
    for plot in &PLOTS {
        draw(run, plot, &directory.join(plot.file).with_extension("svg"))?;
    }
    Ok(())
}

/// The shortest bar on top; each from 1 on a logarithmic axis.
#[allow(clippy::cast_possible_truncation, reason = "pixels")]
fn draw_bars(run: &Run, bars: &Bars, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    const LEFT: i32 = 210;
    const TOP: i32 = 40;
    const WIDTH: i32 = 460;
    const HEIGHT: i32 = 24;
    let mut costs: Vec<(&str, f64)> = run
        .subjects(bars.group)
        .into_iter()
        .filter_map(|subject| {
            Some((subject, run.find(bars.group, subject, bars.with, bars.quantity)?.shown().0))
        })
        .collect();
    costs.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    let Some(&(_, most)) = costs.last() else { return Ok(()) };
    let rows = i32::try_from(costs.len())?;
    let area =
        SVGBackend::new(path, (760, u32::try_from(TOP + rows * HEIGHT + 12)?)).into_drawing_area();
    area.fill(&WHITE)?;
    let text = |size: i32| ("sans-serif", size).into_font().color(&BLACK);
    area.draw(&Text::new(bars.title, (12, 10), text(20)))?;
    for ((subject, cost), row) in costs.iter().zip(0..) {
        let y = TOP + row * HEIGHT;
        let right = LEFT + (f64::from(WIDTH) * cost.max(1.0).ln() / most.ln()) as i32;
        let colour = if subject.starts_with("ring") { BLUE.mix(0.6) } else { BLACK.mix(0.3) };
        area.draw(&Rectangle::new([(LEFT, y), (right, y + HEIGHT - 6)], colour.filled()))?;
        area.draw(&Text::new(*subject, (12, y + 2), text(16)))?;
        let cost = if *cost < 99.95 { format!("{cost:.1}") } else { format!("{cost:.0}") };
        area.draw(&Text::new(cost, (right + 6, y + 2), text(16)))?;
    }
    area.present()?;
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "parameters far below 2^52")]
fn draw(run: &Run, plot: &Plot, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let curves: Vec<(&str, Vec<(f64, f64)>)> = run
        .subjects(plot.group)
        .into_iter()
        .map(|subject| {
            let of_it = run
                .measures
                .iter()
                .filter(|measure| measure.group == plot.group && measure.subject == subject);
            (
                subject,
                of_it
                    .map(|measure| (measure.with[plot.parameter] as f64, measure.shown().0))
                    .collect(),
            )
        })
        .collect();
    let shown = run
        .measures
        .iter()
        .find(|measure| measure.group == plot.group)
        .map_or("quiet", |measure| measure.shown().1);
    let unit = format!("ns per record ({shown})");
    let points = || curves.iter().flat_map(|(_, points)| points.iter().copied());
    if points().next().is_none() {
        return Ok(());
    }
    let left = points().map(|(x, _)| x).fold(f64::MAX, f64::min);
    let right = points().map(|(x, _)| x).fold(0.0, f64::max);
    let top = points().map(|(_, y)| y).fold(0.0, f64::max);
    let bottom = points().map(|(_, y)| y).fold(f64::MAX, f64::min);

    let area = SVGBackend::new(path, (760, 420)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut builder = ChartBuilder::on(&area);
    builder
        .caption(plot.title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64);
    // Sizes grow by doubling, numbers of threads one by one.
    let logarithmic = right / left.max(1.0) > 16.0;
    macro_rules! chart {
        ($x:expr, $y:expr) => {{
            let mut chart = builder.build_cartesian_2d($x, $y)?;
            chart
                .configure_mesh()
                .x_desc(plot.axis)
                .y_desc(unit.as_str())
                .light_line_style(WHITE)
                .draw()?;
            for (at, (subject, points)) in curves.iter().enumerate() {
                let colour = Palette99::pick(at).to_rgba();
                chart
                    .draw_series(
                        LineSeries::new(points.iter().copied(), colour.stroke_width(2))
                            .point_size(3),
                    )?
                    .label(*subject)
                    .legend(move |(x, y)| {
                        PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2))
                    });
            }
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperLeft)
                .background_style(WHITE.mix(0.8))
                .border_style(BLACK.mix(0.3))
                .draw()?;
        }};
    }
    if logarithmic {
        chart!((left..right).log_scale(), ((bottom / 1.5)..(top * 2.0)).log_scale());
    } else {
        chart!(left..right, 0.0..(top * 1.25));
    }
    area.present()?;
    Ok(())
}
