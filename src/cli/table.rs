//! Tables that fit the terminal: what matters least goes first, then the widest columns are cut.

use super::output::{Paint, Tone, clean, cut, width};

const GAP: usize = 2;

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Where the table is too wide, the column with the highest rank goes first; 0 always stays.
    pub(super) rank: u8,
    /// To how many characters it may be cut; `None`: it is shown whole or not at all.
    pub(super) least: Option<usize>,
}

/// A piece of text in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(super) fn new(tone: Tone, text: &str) -> Self {
        Self { text: clean(text), tone }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::new(Tone::Plain, &text)
    }
}

/// Renders rows of as many cells as there are columns, below their titles.
pub(super) fn render(columns: &[Column], rows: &[Vec<Cell>], most: Option<usize>, paint: Paint) -> String {
    let titles: Vec<_> = columns.iter().map(|column| Cell::new(Tone::Title, column.title)).collect();
    lines(columns, std::iter::once(&titles).chain(rows), most, paint)
}

/// The same without titles.
pub(super) fn rows(columns: &[Column], rows: &[Vec<Cell>], most: Option<usize>, paint: Paint) -> String {
    lines(columns, rows.iter(), most, paint)
}

fn lines<'a>(
    columns: &[Column],
    rows: impl Iterator<Item = &'a Vec<Cell>> + Clone,
    most: Option<usize>,
    paint: Paint,
) -> String {
    let mut shown: Vec<(usize, Column, usize)> = columns
        .iter()
        .enumerate()
        .map(|(n, column)| {
            let widest = rows.clone().filter_map(|row| row.get(n)).map(|cell| width(&cell.text)).max().unwrap_or(0);
            (n, *column, widest)
        })
        .collect();
    if let Some(most) = most {
        fit(&mut shown, most);
    }
    let mut text = String::new();
    for row in rows {
        let mut gap = 0;
        for (n, _, column_width) in &shown {
            let Some(cell) = row.get(*n) else { continue };
            let cell_text = cut(&cell.text, *column_width);
            // Written before the next text, so that no line ends in spaces.
            if !cell_text.is_empty() {
                text.push_str(&" ".repeat(std::mem::take(&mut gap)));
            }
            gap += GAP + column_width - width(&cell_text);
            text.push_str(&paint.text(cell.tone, &cell_text));
        }
        text.push('\n');
    }
    text
}

/// Drops columns until the rest can be made to fit, then cuts the widest of those that may be cut.
fn fit(shown: &mut Vec<(usize, Column, usize)>, most: usize) {
    let least = |(_, column, width): &(usize, Column, usize)| column.least.map_or(*width, |least| least.min(*width));
    let gaps = |columns: usize| GAP * columns.saturating_sub(1);
    while shown.iter().map(least).sum::<usize>() + gaps(shown.len()) > most {
        let last = shown.iter().enumerate().max_by_key(|(_, (_, column, _))| column.rank);
        match last {
            Some((at, (_, column, _))) if column.rank > 0 => drop(shown.remove(at)),
            _ => break,
        }
    }
    let mut excess = (shown.iter().map(|(.., width)| width).sum::<usize>() + gaps(shown.len())).saturating_sub(most);
    while excess > 0 {
        let cuttable = shown.iter_mut().filter(|(_, column, width)| column.least.is_some_and(|least| least < *width));
        let Some((.., width)) = cuttable.max_by_key(|(.., width)| *width) else { break };
        *width -= 1;
        excess -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [
        Column { title: "NAME", rank: 0, least: Some(8) },
        Column { title: "STATE", rank: 0, least: None },
        Column { title: "TARGET", rank: 2, least: Some(10) },
        Column { title: "AGE", rank: 1, least: None },
    ];

    fn rows() -> Vec<Vec<Cell>> {
        let row = |name: &str, state: &str, target: &str, age: &str| {
            [name, state, target, age].map(|text| Cell::from(text.to_owned())).to_vec()
        };
        vec![
            row("api", "RUNNING", "http://127.0.0.1:8080/a/rather/long/path", "5s"),
            row("a-task-with-a-name-of-some-length", "CANCELLED", "127.0.0.1:5432", "1d2h"),
        ]
    }

    fn widest(text: &str) -> usize {
        text.lines().map(width).max().unwrap_or(0)
    }

    #[test]
    fn without_a_terminal_nothing_is_cut_and_no_line_ends_in_spaces() {
        let text = render(&COLUMNS, &rows(), None, Paint(false));
        assert!(text.contains("/a/rather/long/path  5s\n") && text.contains("of-some-length  CANCELLED"), "{text}");
        assert!(text.lines().all(|line| !line.ends_with(' ')));
    }

    #[test]
    fn a_table_fits_and_loses_the_least_important_first() {
        let text = render(&COLUMNS, &rows(), Some(60), Paint(false));
        assert!(widest(&text) <= 60 && text.contains("TARGET") && text.contains('…'), "{text}");
        let text = render(&COLUMNS, &rows(), Some(30), Paint(false));
        assert!(widest(&text) <= 30 && !text.contains("TARGET") && text.contains("AGE"), "{text}");
        let text = render(&COLUMNS, &rows(), Some(20), Paint(false));
        assert!(widest(&text) <= 20 && !text.contains("AGE") && text.contains("a-task-w…"), "{text}");
    }

    #[test]
    fn empty_cells_leave_their_room() {
        let rows = vec![["", "b", "", "d"].map(|text| Cell::from(text.to_owned())).to_vec()];
        let text = render(&COLUMNS, &rows, None, Paint(false));
        assert_eq!(text, "NAME  STATE  TARGET  AGE\n      b              d\n");
    }

    #[test]
    fn colours_do_not_move_columns() {
        let rows = vec![vec![Cell::new(Tone::Good, "a"), "b".to_owned().into()]];
        let text = render(&COLUMNS[..2], &rows, Some(40), Paint(true));
        assert_eq!(text, "\x1b[1mNAME\x1b[0m  \x1b[1mSTATE\x1b[0m\n\x1b[32ma\x1b[0m     b\n");
    }
}
