//! Who reaches whom: the table a partition plans, and whether what was seen agrees with it.
//!
//! A cell is about one direction: packets of the row's container get to the column's, or don't. Plans hold
//! the table that the fault means to make; agents in the members' namespaces look at the real one before,
//! during and after. Pure; start at [`Reach`], then [`Looks::disagreement`].

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// In [`Reach::rows`]: packets get there.
const REACHES: char = '+';
/// In [`Reach::rows`]: they don't.
const LOST: char = '.';
/// In [`Reach::rows`]: the container itself, about which nothing is said.
const ITSELF: char = '=';

/// Who reaches whom among some containers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// The containers, each once.
    pub members: Vec<String>,
    /// One a member, in their order: whom its packets reach, one character a member: `+` reached, `.` not
    /// reached, `=` itself.
    pub rows: Vec<String>,
}

impl Reach {
    /// The table in which the packets of member number `from` get to member number `to` if `reaches` says so.
    pub fn new(members: Vec<String>, reaches: impl Fn(usize, usize) -> bool) -> Self {
        let count = members.len();
        let cell = |from, to| match (from == to, reaches(from, to)) {
            (true, _) => ITSELF,
            (false, true) => REACHES,
            (false, false) => LOST,
        };
        let rows = (0..count).map(|from| (0..count).map(|to| cell(from, to)).collect()).collect();
        Self { members, rows }
    }

    /// True if packets of member number `from` get to member number `to`; a member reaches itself.
    pub fn reaches(&self, from: usize, to: usize) -> bool {
        self.rows.get(from).and_then(|row| row.as_bytes().get(to)).is_some_and(|cell| *cell != LOST as u8)
    }

    /// Pairs of different members, as numbers: from, to.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let count = self.members.len();
        (0..count).flat_map(move |from| (0..count).map(move |to| (from, to))).filter(|(from, to)| from != to)
    }

    /// Those whom packets of member number `from` do not get to.
    pub fn lost_from(&self, from: usize) -> Vec<usize> {
        (0..self.members.len()).filter(|to| !self.reaches(from, *to)).collect()
    }

    /// Those whose packets do not get to member number `to`.
    pub fn lost_to(&self, to: usize) -> Vec<usize> {
        (0..self.members.len()).filter(|from| !self.reaches(*from, to)).collect()
    }

    fn named(&self, (from, to): (usize, usize)) -> (&str, &str) {
        (&self.members[from], &self.members[to])
    }
}

impl fmt::Display for Reach {
    /// A table: rows send, columns are numbered like the rows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = self.members.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let digits = self.members.len().to_string().len();
        for (number, (name, row)) in (1..).zip(self.members.iter().zip(&self.rows)) {
            let cells: Vec<String> = row.chars().map(String::from).collect();
            writeln!(f, "{number:>digits$} {name:<widest$}  {}", cells.join(" "))?;
        }
        Ok(())
    }
}

/// What agents saw of a fault's members.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looks<'l> {
    /// Before anything was done.
    pub before: Option<&'l Reach>,
    /// While the fault was in effect.
    pub during: Option<&'l Reach>,
    /// After it was taken back.
    pub after: Option<&'l Reach>,
    /// Pairs that share a network and could not be heard before, whatever the reason.
    pub unheard: u32,
}

impl Looks<'_> {
    /// Why what was seen does not prove `plan`; nothing if it does. Members in `others` are hit by other
    /// faults at the same time: what those cut off as well is no disagreement.
    pub fn disagreement(&self, plan: &Reach, others: &BTreeSet<&str>) -> Option<String> {
        let (Some(before), Some(during)) = (self.before, self.during) else {
            return Some("nobody looked who reached whom while it was in effect".into());
        };
        if [Some(before), Some(during), self.after].iter().flatten().any(|look| look.members != plan.members)
        {
            return Some("what was looked at is not what was planned".into());
        }
        if self.unheard > 0 {
            // Nobody can tell what the fault did to them; to say that it held would be a guess.
            return Some(format!(
                "before anything was done, {} of {} pairs were not heard though they share a network",
                self.unheard,
                plan.pairs().count()
            ));
        }
        let mut cut = false;
        for pair in plan.pairs() {
            let ((from, to), (a, b)) = (pair, plan.named(pair));
            let (could, can) = (before.reaches(from, to), during.reaches(from, to));
            cut |= could && !plan.reaches(from, to);
            if can && !plan.reaches(from, to) {
                return Some(format!("{a} still reached {b}"));
            }
            let excused = others.contains(a) || others.contains(b);
            if could && !can && plan.reaches(from, to) && !excused {
                return Some(format!("{a} no longer reached {b}, which it does not cut"));
            }
        }
        if !cut {
            return Some("none of those that it cuts apart reached each other before".into());
        }
        let Some(after) = self.after else {
            return Some("nobody looked who reached whom after it was taken back".into());
        };
        let lost = plan.pairs().find(|(from, to)| before.reaches(*from, *to) && !after.reaches(*from, *to));
        lost.map(|pair| {
            let (a, b) = plan.named(pair);
            format!("{a} did not reach {b} again after it was taken back")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(rows: [&str; 3]) -> Reach {
        Reach { members: ["a", "b", "c"].map(str::to_owned).to_vec(), rows: rows.map(str::to_owned).to_vec() }
    }

    #[test]
    fn rows_read_back_as_cells() {
        let made = Reach::new(vec!["a".into(), "b".into(), "c".into()], |from, to| from + to != 1);
        assert_eq!(made, reach(["=.+", ".=+", "++="]));
        assert_eq!((made.lost_from(0), made.lost_to(0), made.lost_from(2)), (vec![1], vec![1], vec![]));
        assert!(made.reaches(0, 0) && made.reaches(0, 2) && !made.reaches(1, 0));
        assert_eq!(made.to_string(), "1 a  = . +\n2 b  . = +\n3 c  + + =\n");
    }

    #[test]
    fn looks_prove_a_plan_or_say_why_not() {
        let plan = reach(["=.+", "+=+", "++="]);
        let whole = reach(["=++", "+=+", "++="]);
        let check = |before, during, after, others: &[&str], expected: Option<&str>| {
            let looks = Looks { before, during, after, unheard: 0 };
            let why = looks.disagreement(&plan, &others.iter().copied().collect());
            assert_eq!(why.as_deref(), expected, "{looks:?}");
        };
        let (whole, planned) = (Some(&whole), Some(&plan));
        check(whole, planned, whole, &[], None);
        check(whole, whole, whole, &[], Some("a still reached b"));
        let deaf = reach(["=..", "+=+", "++="]);
        check(whole, Some(&deaf), whole, &[], Some("a no longer reached c, which it does not cut"));
        check(whole, Some(&deaf), whole, &["c"], None);
        check(whole, planned, planned, &[], Some("a did not reach b again after it was taken back"));
        let never = Some("none of those that it cuts apart reached each other before");
        check(planned, planned, planned, &[], never);
        check(whole, planned, None, &[], Some("nobody looked who reached whom after it was taken back"));
        check(whole, None, whole, &[], Some("nobody looked who reached whom while it was in effect"));
        let deaf = Looks { before: whole, during: planned, after: whole, unheard: 2 };
        let why = deaf.disagreement(&plan, &BTreeSet::new());
        let expected = "before anything was done, 2 of 6 pairs were not heard though they share a network";
        assert_eq!(why.as_deref(), Some(expected));
        // What could not be reached before need not be after.
        let apart = reach(["=+.", "+=+", "++="]);
        let cut = reach(["=..", "+=+", "++="]);
        check(Some(&apart), Some(&cut), Some(&apart), &[], None);
    }
}
