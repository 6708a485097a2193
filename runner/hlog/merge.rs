//! Many intervals into one histogram, line by line: a log of days needs no more memory than its longest line.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use crate::load::packed;

/// The longest line read: the largest histogram there is takes some 6 MB.
pub const MAX_LINE_BYTES: usize = 16 << 20;

/// The most tags told apart.
const MAX_TAGS: usize = 10_000;

/// Which intervals are merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Those without a tag; of logs in which all have one, all.
    Untagged,
    /// Those whose tag is this, or begins with what stands before a final `*`.
    Tag(String),
}

impl Choice {
    fn takes(&self, tag: Option<&str>) -> bool {
        match (self, tag) {
            (Self::Untagged, tag) => tag.is_none(),
            (Self::Tag(_), None) => false,
            (Self::Tag(wanted), Some(tag)) => match wanted.strip_suffix('*') {
                Some(begin) => tag.starts_with(begin),
                None => tag == wanted,
            },
        }
    }
}

/// What was seen of one tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tagged {
    /// Its intervals.
    pub intervals: u64,
    /// The values in them.
    pub values: u64,
}

/// What logs come to.
#[derive(Debug)]
pub struct Merged {
    choice: Choice,
    chosen: Option<Histogram<u64>>,
    /// Everything tagged, while nothing untagged was seen that would be chosen instead.
    tagged: Option<Histogram<u64>>,
    /// By tag, what there is; without one under nothing.
    tags: BTreeMap<Option<String>, Tagged>,
}

impl Merged {
    /// Nothing yet.
    pub const fn new(choice: Choice) -> Self {
        Self { choice, chosen: None, tagged: None, tags: BTreeMap::new() }
    }

    /// Takes one line of a log, without its end. Fails with why it is no such line.
    pub fn take(&mut self, line: &str) -> Result<(), String> {
        let line = line.trim_end_matches('\r');
        if line.trim().is_empty() {
            return Ok(());
        }
        let text = format!("{line}\n");
        let entry = match IntervalLogIterator::new(text.as_bytes()).next() {
            None | Some(Ok(LogEntry::StartTime(_) | LogEntry::BaseTime(_))) => return Ok(()),
            Some(Ok(LogEntry::Interval(interval))) => interval,
            Some(Err(_)) => {
                return Err("not `[Tag=TAG,]START,LENGTH,MAX,HISTOGRAM` with times such as `1.500`".into());
            }
        };
        let bytes = BASE64
            .decode(entry.encoded_histogram().trim())
            .map_err(|error| format!("its histogram is not base64: {error}"))?;
        let histogram = packed::inflate(&bytes).and_then(|claim| claim.open());
        let histogram = histogram.map_err(|why| format!("its histogram is not to be had: {why}"))?;
        let tag = entry.tag().map(|tag| tag.as_str().to_owned());
        if self.choice.takes(tag.as_deref()) {
            add(&mut self.chosen, &histogram)?;
        } else if self.choice == Choice::Untagged && self.chosen.is_none() {
            add(&mut self.tagged, &histogram)?;
        }
        if self.tags.len() >= MAX_TAGS && !self.tags.contains_key(&tag) {
            return Err(format!("more than {MAX_TAGS} tags"));
        }
        let seen = self.tags.entry(tag).or_default();
        seen.intervals += 1;
        seen.values += histogram.len();
        Ok(())
    }

    /// The histogram of what was chosen; nothing if there was none of it.
    pub fn histogram(&self) -> Option<&Histogram<u64>> {
        self.chosen.as_ref().or(self.tagged.as_ref())
    }

    /// True if there was nothing untagged, and so all tags were taken together.
    pub const fn is_of_all_tags(&self) -> bool {
        self.chosen.is_none() && self.tagged.is_some()
    }

    /// Every tag, and nothing for those without, with what there is of it.
    pub fn tags(&self) -> impl Iterator<Item = (Option<&str>, Tagged)> {
        self.tags.iter().map(|(tag, seen)| (tag.as_deref(), *seen))
    }
}

fn add(sum: &mut Option<Histogram<u64>>, histogram: &Histogram<u64>) -> Result<(), String> {
    let sum = match sum {
        Some(sum) => sum,
        None => {
            // Three digits at least, as HdrHistogram's own log processor: logs of different precision add up.
            let mut empty = Histogram::new(histogram.sigfig().max(3)).map_err(|error| error.to_string())?;
            empty.auto(true);
            sum.insert(empty)
        }
    };
    sum.add(histogram).map_err(|error| format!("it can't be added to those before: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JHICCUP: &str = include_str!("../../tests/data/hdrhistogram/jHiccup-2.0.7S.logV2.hlog");
    const TAGGED: &str = include_str!("../../tests/data/hdrhistogram/tagged-Log.logV2.hlog");

    fn merged(text: &str, choice: Choice) -> Merged {
        let mut merged = Merged::new(choice);
        for (number, line) in text.lines().enumerate() {
            merged.take(line).unwrap_or_else(|why| panic!("line {}: {why}", number + 1));
        }
        merged
    }

    /// The value at a quantile's nearest rank, as those tests take it; this library takes the next rank up,
    /// which is the stricter reading.
    fn nearest(histogram: &Histogram<u64>, quantile: f64) -> u64 {
        let rank = (quantile * histogram.len() as f64 + 0.5).floor();
        // Half a rank less rounds up to it, whatever the division loses.
        histogram.value_at_quantile((rank - 0.5) / histogram.len() as f64)
    }

    /// The figures that the tests of HdrHistogram's Java, C, C#, Go and Python libraries demand of these logs.
    #[test]
    fn hdrhistograms_own_vectors_are_reproduced() {
        let log = merged(JHICCUP, Choice::Untagged);
        let all = log.histogram().unwrap();
        assert_eq!(log.tags().collect::<Vec<_>>(), [(None, Tagged { intervals: 62, values: 48_761 })]);
        assert_eq!(all.len(), 48_761);
        assert_eq!(nearest(all, 0.999), 1_745_879_039);
        assert_eq!(all.max(), 1_796_210_687);

        let log = merged(TAGGED, Choice::Untagged);
        let seen: Vec<_> = log.tags().map(|(tag, seen)| (tag.map(str::to_owned), seen.intervals)).collect();
        assert_eq!(seen, [(None, 21), (Some("A".to_owned()), 21)]);
        assert_eq!(log.tags().map(|(_, seen)| seen.values).sum::<u64>(), 32_290);
        let tagged = merged(TAGGED, Choice::Tag("A".into()));
        assert_eq!(log.histogram(), tagged.histogram(), "both halves hold the same");

        // The first interval alone, and the ones from 40 s to 60 s.
        let first = TAGGED.lines().find(|line| line.starts_with("0.127")).unwrap();
        let encoded = BASE64.decode(first.rsplit(',').next().unwrap()).unwrap();
        let first = packed::inflate(&encoded).unwrap().open().unwrap();
        let quantiles = [0.5, 0.99].map(|quantile| nearest(&first, quantile));
        assert_eq!((first.len(), quantiles, first.max()), (741, [344_063, 409_599], 2_768_895));
        let start_s = |line: &&str| line.split(',').next().and_then(|start| start.parse::<f64>().ok());
        let late: Vec<_> = JHICCUP
            .lines()
            .filter(|line| start_s(line).is_some_and(|start_s| (40.0..60.0).contains(&start_s)))
            .collect();
        let log = merged(&late.join("\n"), Choice::Untagged);
        let late_sum = log.histogram().unwrap();
        assert_eq!((late.len(), late_sum.len()), (20, 15_830));
        assert_eq!(nearest(late_sum, 0.999), 1_779_433_471);
    }

    #[test]
    fn tags_choose() {
        let line = TAGGED.lines().find(|line| line.starts_with("Tag=A,")).unwrap();
        let text = [line, &line.replace("Tag=A", "Tag=base/get"), &line.replace("Tag=A", "Tag=base/post")];
        let count = |choice| merged(&text.join("\r\n"), choice).histogram().map_or(0, Histogram::len);
        assert_eq!(count(Choice::Tag("base/*".into())), 2 * 741);
        assert_eq!(count(Choice::Tag("base/get".into())), 741);
        assert_eq!(count(Choice::Tag("base/".into())), 0);
        assert_eq!(count(Choice::Untagged), 3 * 741, "nothing is untagged: all are taken");
    }

    #[test]
    fn bad_lines_say_what_is_wrong() {
        let mut lines = String::new();
        for line in [
            "hello",
            "Tag=A,0.1,0.2",
            "1,2,3,HISTFAAAAEV4",
            "0.127,1.007,2.769,***",
            "0.127,1.007,2.769,SElTVEZBQUFBRVY0",
            "0.127,1.007,2.769,HISTFAAAAEV42pNpmSzM",
            // 40 bytes that claim four billion counts.
            "0.1,1.0,0.0,HISTFAAAACB4nJNpmSz8HwgYIIAZSjMCmW4GOxYw2H+ACAAA168IRw==",
        ] {
            let why = Merged::new(Choice::Untagged).take(line).unwrap_err();
            lines.push_str(&format!("{line}\n    {why}\n"));
        }
        insta::assert_snapshot!(lines);
        for fine in
            ["", "# a comment", "\"StartTimestamp\",\"Interval_Length\"", "#[StartTime: 1.5 (seconds)]"]
        {
            assert_eq!(Merged::new(Choice::Untagged).take(fine), Ok(()), "{fine}");
        }
    }
}
