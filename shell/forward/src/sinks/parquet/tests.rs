use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::batch::Batch;
use crate::sink::Remedy;

/// A directory of our own; removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("aqueduct-forward-{}-parquet-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn sink(&self, more: &str) -> Parquet {
        let table = toml::from_str(&format!("path = '{}'\n{more}", self.0.display()));
        let context = Context { flow: "s".to_owned(), ..Context::default() };
        Parquet::open(table.expect("TOML of this shape"), &context).expect("settings")
    }

    /// The names below it.
    fn files(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut left = vec![self.0.clone()];
        while let Some(directory) = left.pop() {
            for entry in fs::read_dir(directory).expect("a directory") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    left.push(path);
                } else {
                    let name = path.strip_prefix(&self.0).expect("below it");
                    names.push(name.to_str().expect("UTF-8").to_owned());
                }
            }
        }
        names.sort();
        names
    }

    /// How often each record is there, by its sequence number.
    fn counted(&self) -> BTreeMap<i64, usize> {
        let mut counted = BTreeMap::new();
        for name in self.files() {
            for seq in seqs(&self.0.join(name)) {
                *counted.entry(seq).or_default() += 1;
            }
        }
        counted
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Reads the column `seq`, by rows.
fn seqs(path: &Path) -> Vec<i64> {
    use ::parquet::file::reader::{FileReader, SerializedFileReader};
    use ::parquet::record::RowAccessor;
    let file = SerializedFileReader::new(fs::File::open(path).expect("it is there"));
    let file = file.expect("whole");
    let rows = file.get_row_iter(None).expect("rows").map(Result::unwrap);
    rows.map(|row| row.get_long(1).expect("INT64")).collect()
}

const HOUR_NS: u64 = 3_600_000_000_000;

/// Records `range`, in hours that go back and forth.
fn batch(epoch: u64, range: std::ops::Range<u64>) -> Batch {
    let mut batch = Batch::default();
    batch.clear(epoch);
    for seq in range {
        batch.push(seq, 7, (seq % 3) * HOUR_NS + 1, format!("{{\"n\":{seq}}}").as_bytes(), b"");
    }
    batch
}

fn each_once(range: std::ops::Range<i64>) -> BTreeMap<i64, usize> {
    range.map(|seq| (seq, 1)).collect()
}

#[test]
fn a_batch_is_a_file_for_each_partition_and_nothing_half_written_stays() {
    let scratch = Scratch::new("files");
    let mut sink = scratch.sink("partition = ['date', 'hour']\nrow_group_rows = 2\n");
    let delivered = sink.deliver(&batch(1, 0..10).records(), &Stop::default());
    assert_eq!(delivered, Ok(Delivered { known: 0 }));
    let day = "date=1970-01-01";
    let zero = "s-0000000000000001-0000000000000000000";
    assert_eq!(
        scratch.files(),
        [
            format!("{day}/hour=00/{zero}0-00000000000000000009.parquet"),
            format!("{day}/hour=01/{zero}1-00000000000000000007.parquet"),
            format!("{day}/hour=02/{zero}2-00000000000000000008.parquet"),
        ]
    );
    assert_eq!(scratch.counted(), each_once(0..10));
}

#[test]
fn what_comes_again_after_a_crash_between_two_renames_is_there_once() {
    // The files of a crashed process: all subsets of those that its batch makes.
    for survivors in 0..8_usize {
        let scratch = Scratch::new(&format!("again-{survivors}"));
        let settings = "partition = ['date', 'hour']\n";
        let stop = Stop::default();
        scratch.sink(settings).deliver(&batch(1, 0..10).records(), &stop).expect("delivered");
        for (at, name) in scratch.files().iter().enumerate() {
            if survivors >> at & 1 == 0 {
                fs::remove_file(scratch.0.join(name)).expect("removed");
            }
        }
        fs::write(scratch.0.join(".s-77-0.tmp"), "half").expect("written");
        fs::write(scratch.0.join(".other-77-0.tmp"), "of another flow").expect("written");
        let before: usize = scratch.files().iter().filter(|it| it.ends_with("quet")).count();
        assert_eq!(before, survivors.count_ones() as usize);
        // The next process cuts its batches elsewhere, and has more.
        let mut sink = scratch.sink(settings);
        let mut known = 0;
        for range in [0..4, 4..7, 7..13] {
            known += sink.deliver(&batch(1, range).records(), &stop).expect("delivered").known;
        }
        let expected = [4, 3, 3].iter().enumerate().filter(|(at, _)| survivors >> at & 1 == 1);
        assert_eq!(known, expected.map(|(_, count)| count).sum::<u64>());
        fs::remove_file(scratch.0.join(".other-77-0.tmp")).expect("it is left alone");
        assert_eq!(scratch.counted(), each_once(0..13), "survivors {survivors:03b}");
        // Another epoch has the same numbers and is something else.
        sink.deliver(&batch(2, 0..13).records(), &stop).expect("delivered");
        assert!(scratch.counted().values().all(|&count| count == 2));
    }
}

#[test]
fn what_another_flow_writes_is_left_alone() {
    let scratch = Scratch::new("flows");
    let files = |flow: &str| files::Files::new(scratch.0.clone(), flow.to_owned());
    let there = |count| assert_eq!(scratch.files().len(), count, "{:?}", scratch.files());
    // A flow whose name begins alike, as it looks after a kill, and one of the same name.
    fs::write(scratch.0.join(".lake-2-4711-0.tmp"), "half").expect("written");
    fs::write(scratch.0.join(".lake-4711-0.tmp"), "half").expect("written");
    let mut same = files("lake");
    let (file, temporary) = same.create().expect("it is made");
    there(3);
    let mut sink = files("lake");
    sink.check().expect("it is there");
    there(2);
    // As one that is read again, for instance: the name is what counts.
    drop(file);
    files("lake").check().expect("it is there");
    there(2);
    drop(temporary);
    files("lake-2").check().expect("it is there");
    there(0);
}

#[test]
fn a_record_that_does_not_fit_is_poison_and_those_before_it_are_in_files() {
    let scratch = Scratch::new("poison");
    let mut sink = scratch.sink(
        "columns = [{ name = 'n', pointer = '/n', type = 'integer' },
         { name = 'b', pointer = '/b', type = 'boolean' }]\n",
    );
    let mut batch = Batch::default();
    batch.clear(1);
    for (seq, payload) in
        ["{\"n\":1}", "{\"n\":null}", "{\"n\":3,\"b\":0}", "{}"].iter().enumerate()
    {
        batch.push(seq as u64, 0, 0, payload.as_bytes(), b"");
    }
    let stop = Stop::default();
    let failure = sink.deliver(&batch.records(), &stop).expect_err("a number is no boolean");
    assert_eq!((failure.done, failure.remedy), (2, Remedy::Poison));
    assert_eq!(failure.reason, "column `b`: `0` is not true or false");
    assert_eq!(scratch.counted(), each_once(0..2));
    sink.deliver(&batch.records().slice(3..4), &stop).expect("delivered");
    assert_eq!(scratch.counted().keys().copied().collect::<Vec<_>>(), [0, 1, 3]);
}

#[test]
fn a_batch_with_more_partitions_than_files_that_may_be_open_is_written_in_parts() {
    let scratch = Scratch::new("many");
    let mut sink = scratch.sink("partition = ['date']\n");
    let mut batch = Batch::default();
    batch.clear(1);
    for seq in 0..200 {
        batch.push(seq, 0, (seq % 150) * 24 * HOUR_NS + 1, b"x", b"");
    }
    sink.deliver(&batch.records(), &Stop::default()).expect("delivered");
    assert_eq!(scratch.counted(), each_once(0..200));
}

#[test]
fn a_batch_that_another_thread_encodes_is_the_same_and_ends_before_what_does_not_fit() {
    const RECORDS: u64 = 3 * APART_RECORDS as u64;
    let scratch = Scratch::new("apart");
    let mut sink = scratch.sink(
        "partition = ['date', 'hour']\nrow_group_rows = 5000\ncolumns = [
         { name = 'n', pointer = '/n', type = 'integer' },
         { name = 's', pointer = '/s' }]\n",
    );
    let mut batch = Batch::default();
    batch.clear(1);
    let poison = RECORDS - 100;
    for seq in 0..RECORDS {
        let payload = match seq {
            _ if seq == poison => "{\"n\":\"none\"}".to_owned(),
            _ if seq % 5 == 0 => format!("{{\"n\":{seq}}}"),
            _ => format!("{{\"n\":{seq},\"s\":\"s{seq}\"}}"),
        };
        batch.push(seq, 0, (seq % 2) * HOUR_NS + 1, payload.as_bytes(), b"");
    }
    let stop = Stop::default();
    let failure = sink.deliver(&batch.records(), &stop).expect_err("text is no integer");
    assert_eq!(failure.remedy, Remedy::Poison);
    let done = usize::try_from(poison).expect("few");
    assert_eq!(failure.done, done);
    let rest = batch.records().slice(done + 1..batch.len());
    sink.deliver(&rest, &stop).expect("delivered");
    let mut found = BTreeMap::new();
    for name in scratch.files() {
        use ::parquet::file::reader::{FileReader, SerializedFileReader};
        use ::parquet::record::RowAccessor;
        let file = fs::File::open(scratch.0.join(name)).expect("it is there");
        let file = SerializedFileReader::new(file).expect("whole");
        assert!(file.metadata().row_groups().iter().all(|group| group.num_rows() <= 5000));
        for row in file.get_row_iter(None).expect("rows") {
            let row = row.expect("whole");
            assert_eq!(row.get_string(0).expect("the epoch"), "0000000000000001");
            let text = row.get_string(5).ok().cloned();
            let row = (row.get_long(1).expect("its number"), row.get_long(4).expect("n"), text);
            assert!(found.insert(row.0, row).is_none(), "each once");
        }
    }
    let expected = |seq: i64| (seq % 5 != 0).then(|| format!("s{seq}"));
    let seqs = (0..i64::try_from(RECORDS).expect("few"))
        .filter(|seq| !seq.eq(&i64::try_from(poison).expect("few")));
    assert!(found.into_values().eq(seqs.map(|seq| (seq, seq, expected(seq)))));
}

#[test]
fn a_directory_that_is_not_there_is_for_a_person() {
    let scratch = Scratch::new("nowhere");
    let mut sink = scratch.sink("");
    assert_eq!(sink.probe(&Stop::default()), Ok(()));
    fs::remove_dir(&scratch.0).expect("removed");
    let failure = sink.deliver(&batch(1, 0..1).records(), &Stop::default()).expect_err("gone");
    assert_eq!(failure.remedy, Remedy::Stop);
}

#[test]
fn a_file_of_the_name_that_cannot_be_read_is_for_a_person_and_loses_nothing() {
    let scratch = Scratch::new("foreign");
    let name = "s-0000000000000001-00000000000000000000-00000000000000000009.parquet";
    fs::write(scratch.0.join(name), "not Parquet").expect("written");
    let failure = scratch.sink("").deliver(&batch(1, 3..5).records(), &Stop::default());
    let failure = failure.expect_err("it cannot be read");
    assert_eq!((failure.done, failure.remedy), (0, Remedy::Stop));
    // It ends before what comes.
    scratch.sink("").deliver(&batch(1, 10..12).records(), &Stop::default()).expect("delivered");
}

#[test]
fn a_table_that_is_wrong_is_told_by_its_key() {
    let context = Context::default();
    for (text, why) in [
        ("partition = ['hour']", "sink.partition"),
        ("compression = 'gzip'", "sink.compression"),
        ("row_group_rows = 0", "sink.row_group_rows: `0`"),
        ("columns = [{ name = 'seq', field = 'payload' }]", "`seq` already"),
        (
            "partition = ['date']\ncolumns = [{ name = 'date', field = 'payload' }]",
            "`date` already",
        ),
    ] {
        let table = toml::from_str(&format!("path = '/tmp'\n{text}")).expect("TOML");
        let error = Parquet::open(table, &context).expect_err("it is refused");
        assert!(error.contains(why), "{error}");
    }
}
