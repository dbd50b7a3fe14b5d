//! Draws the table's speeds.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// A row's speed, as a share of the floor's.
pub struct Bar {
    pub label: String,
    pub share: f64,
    /// The target, if there is one.
    pub target: Option<f64>,
}

const WIDTH: u32 = 800;
const ROW_HEIGHT: u32 = 36;
/// The height of title and axis.
const REST_HEIGHT: u32 = 110;
const LABEL_WIDTH: u32 = 130;
/// Leaves room for the number after the longest bar.
const SHARE_MAX: f64 = 1.15;
/// The share of the width that a number needs.
const NUMBER_SHARE: f64 = 0.1;
/// Share of a row's height, above and below its middle.
const BAR_HALF: f64 = 0.32;
const MARK_HALF: f64 = 0.42;

const FONT: &str = "sans-serif";
const TITLE_SIZE: u32 = 20;
const TEXT_SIZE: u32 = 16;
const OURS: RGBColor = RGBColor(0x2a, 0x6f, 0xb0);
const OTHER: RGBColor = RGBColor(0xb0, 0x78, 0x2a);
const TARGET: RGBColor = RGBColor(0xc0, 0x30, 0x30);

/// Writes the plot as SVG. Bars without a target belong to other contenders.
pub fn draw(path: &Path, bars: &[Bar]) {
    let rows = bars.len() as f64;
    let height = REST_HEIGHT + ROW_HEIGHT * bars.len() as u32;
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    // Not transparent: it must be readable on a dark background as well.
    area.fill(&WHITE).unwrap();
    let longest = bars.iter().map(|bar| bar.share).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(&area)
        .caption("Speed, as a part of what the machine can do", (FONT, TITLE_SIZE))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(LABEL_WIDTH)
        .build_cartesian_2d(0.0..longest * SHARE_MAX, rows..0.0)
        .unwrap();
    let percent = |share: &f64| format!("{:.0} %", share * 100.0);
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .y_labels(0)
        .x_labels(8)
        .x_label_formatter(&percent)
        .x_desc("of the floor: list, hash, rename, one sync at the end, no journal; red: what is aimed at")
        .light_line_style(TRANSPARENT)
        .label_style((FONT, TEXT_SIZE))
        .draw()
        .unwrap();
    let middle = |index: usize| index as f64 + 0.5;
    let color = |bar: &Bar| if bar.target.is_some() { OURS } else { OTHER };
    chart
        .draw_series(bars.iter().enumerate().map(|(index, bar)| {
            let corners = [(0.0, middle(index) - BAR_HALF), (bar.share, middle(index) + BAR_HALF)];
            Rectangle::new(corners, color(bar).filled())
        }))
        .unwrap();
    let behind = (FONT, TEXT_SIZE).into_font().color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center));
    chart
        .draw_series(bars.iter().enumerate().map(|(index, bar)| {
            // The number must be neither on the bar nor on the mark.
            let room = bar.share..bar.share + longest * NUMBER_SHARE;
            let end = bar.target.filter(|target| room.contains(target)).unwrap_or(bar.share);
            let text = format!("{:.*} %", usize::from(bar.share < 0.1), bar.share * 100.0);
            EmptyElement::at((end, middle(index))) + Text::new(text, (6, 0), behind.clone())
        }))
        .unwrap();
    let before = (FONT, TEXT_SIZE).into_font().color(&BLACK).pos(Pos::new(HPos::Right, VPos::Center));
    chart
        .draw_series(bars.iter().enumerate().map(|(index, bar)| {
            EmptyElement::at((0.0, middle(index))) + Text::new(bar.label.clone(), (-8, 0), before.clone())
        }))
        .unwrap();
    let marks = bars.iter().enumerate().filter_map(|(index, bar)| Some((index, bar.target?)));
    chart
        .draw_series(marks.map(|(index, target)| {
            let ends = vec![(target, middle(index) - MARK_HALF), (target, middle(index) + MARK_HALF)];
            PathElement::new(ends, TARGET.stroke_width(3))
        }))
        .unwrap();
    area.present().unwrap();
}
