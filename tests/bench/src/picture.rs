// SPDX-License-Identifier: MIT

//! The picture: what a request costs, one group of bars for each job, shorter is better.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::job::JOBS;
use crate::report::OURS;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 130.0;
const RIGHT: f64 = 90.0;
const BAR: f64 = 18.0;
const GAP: f64 = 34.0;
const TOP: f64 = 84.0;

/// Draws the middles, by contender and job. What is ours is coloured.
pub(crate) fn draw(figures: &BTreeMap<(String, String), f64>) -> String {
    let mut body = String::new();
    let mut y = TOP;
    for job in JOBS {
        let mut rows: Vec<(&str, f64)> = figures
            .iter()
            .filter(|((_, of), _)| of == job.name)
            .map(|((contender, _), &figure)| (contender.as_str(), figure))
            .collect();
        if rows.is_empty() {
            continue;
        }
        rows.sort_by(|a, b| a.1.total_cmp(&b.1));
        let most = rows.last().map_or(1.0, |row| row.1).max(1.0);
        let _ = writeln!(
            body,
            r#"<text x="20" y="{:.0}" class="job">{}</text>"#,
            y - 8.0,
            job.name
        );
        for (name, figure) in rows {
            let long = (WIDTH - LEFT - RIGHT) * figure / most;
            let class = match name {
                name if OURS.contains(&name) => "ours",
                "null_blk" | "brd" | "loop" => "kernel",
                _ => "peer",
            };
            let label = match class {
                "ours" => format!("abuse {name}"),
                _ => name.to_string(),
            };
            let (middle, end) = (y + BAR * 0.72, LEFT + long + 6.0);
            let _ = writeln!(
                body,
                r#"<text x="{:.0}" y="{middle:.1}" class="name">{label}</text><rect x="{LEFT}" y="{y:.1}" width="{long:.1}" height="{:.1}" class="{class}"/><text x="{end:.1}" y="{middle:.1}" class="figure">{:.2}k</text>"#,
                LEFT - 8.0,
                BAR - 3.0,
                figure / 1000.0,
            );
            y += BAR;
        }
        y += GAP;
    }
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y:.0}" font-family="sans-serif">
<style>
.title {{ font-size: 20px; font-weight: bold }} .under {{ font-size: 13px; fill: #555 }}
.job {{ font-size: 14px; font-weight: bold }} .name {{ font-size: 12px; text-anchor: end }}
.figure {{ font-size: 12px; fill: #333 }}
.ours {{ fill: #d2552d }} .kernel {{ fill: #9aa7b4 }} .peer {{ fill: #4a78a8 }}
</style>
<rect width="100%" height="100%" fill="white"/>
<text x="20" y="32" class="title">Instructions per request</text>
<text x="20" y="52" class="under">program, block layer, driver and server together; one processor; shorter is better</text>
{body}</svg>
"##
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dearest_fills_the_width_and_the_others_their_part() {
        let key = |name: &str| (name.to_string(), JOBS[0].name.to_string());
        let svg = draw(&BTreeMap::from([
            (key("copy"), 5000.0),
            (key("kublk"), 10000.0),
        ]));
        assert!(svg.contains(r#"width="740.0""#), "{svg}");
        assert!(svg.contains(r#"width="370.0""#), "{svg}");
        assert!(svg.contains("abuse copy"));
        assert!(svg.find("abuse copy") < svg.find("kublk"));
    }
}
