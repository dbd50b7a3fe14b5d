//! Random sequences of operations, and the rules that must always hold.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::fs::sim::rng::Rng;

const STORIES: u64 = 400;
const STEPS: u64 = 25;
const CRASHES: u64 = 12;

fn pick(rng: &mut Rng) -> String {
    format!("/{}/{}", ["in", "out"][rng.index(2)], ["a", "b", "c", "d"][rng.index(4)])
}

/// One step of a sequence in which nothing is removed.
fn step(fs: &SimFs, rng: &mut Rng, made: &mut u64, is_split: bool) {
    let (from, to) = (pick(rng), pick(rng));
    match rng.below(8) {
        0 | 1 => {
            *made += 1;
            if !exists(fs, &to) {
                fs.sync_all(&create(fs, &to, made.to_string().as_bytes())).unwrap();
            }
        }
        // Not only one of them: the file of a split rename could then lose both names.
        2 if is_split => fs.upstream().sync(),
        2 => sync_dir(fs, ["/in", "/out"][rng.index(2)]),
        _ => drop(rename(fs, &from, &to)),
    }
}

fn contents(fs: &SimFs) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for dir in ["/in", "/out"] {
        for name in fs.upstream().list(dir).unwrap() {
            let path = format!("{dir}/{}", name.to_str().unwrap());
            let content = text(fs, &path).unwrap();
            found.insert(path, content);
        }
    }
    found
}

#[test]
fn renames_lose_no_file_and_invent_none() {
    for story in 0..STORIES {
        let (fs, mut rng, mut made) = (machine(), Rng::new(story), 0);
        fs.set_split_renames(story % 2 == 1);
        for path in ["/in/a", "/in/b", "/out/c"] {
            fs.upstream().write(path, path.as_bytes()).unwrap();
        }
        fs.upstream().sync();
        for _ in 0..STEPS {
            step(&fs, &mut rng, &mut made, story % 2 == 1);
        }
        let seen: BTreeSet<String> = contents(&fs).into_values().collect();
        for seed in 0..CRASHES {
            let fork = fs.fork();
            fork.crash(story * CRASHES + seed);
            let left = contents(&fork);
            let values: BTreeSet<&String> = left.values().collect();
            for durable in ["/in/a", "/in/b", "/out/c"] {
                assert!(values.contains(&durable.to_owned()), "{durable} is lost in story {story}, seed {seed}");
            }
            assert!(values.iter().all(|value| seen.contains(*value)), "a file from nowhere in story {story}");
            assert!(story % 2 == 1 || values.len() == left.len(), "one file, two names in story {story}");
            check_numbers(&fork);
        }
    }
}

/// Different inodes have different numbers, and link counts are correct.
fn check_numbers(fs: &SimFs) {
    let mut by_number: BTreeMap<u64, (String, u64, u64)> = BTreeMap::new();
    for (path, content) in contents(fs) {
        let stat = fs.upstream().stat(&path).unwrap();
        let entry = by_number.entry(stat.identity.inode).or_insert((content.clone(), stat.links, 0));
        assert_eq!(entry.0, content, "two files with one number");
        entry.2 += 1;
    }
    assert!(by_number.values().all(|(_, links, names)| links == names));
}

#[test]
fn removals_and_reuse_never_mix_files_up() {
    for story in 0..STORIES {
        let (fs, mut rng) = (machine(), Rng::new(!story));
        fs.set_split_renames(story % 2 == 1);
        for made in 0..STEPS {
            let path = pick(&mut rng);
            match rng.below(6) {
                0 | 1 if !exists(&fs, &path) => {
                    fs.sync_all(&create(&fs, &path, made.to_string().as_bytes())).unwrap();
                }
                0 | 1 => drop(fs.upstream().link(&path, pick(&mut rng))),
                2 => drop(unlink(&fs, &path)),
                3 => drop(fs.upstream().replace(&path, pick(&mut rng))),
                4 => sync_dir(&fs, ["/in", "/out"][rng.index(2)]),
                _ => drop(rename(&fs, &path, &pick(&mut rng))),
            }
            check_numbers(&fs);
        }
        for seed in 0..CRASHES {
            let fork = fs.fork();
            fork.crash(story * CRASHES + seed);
            check_numbers(&fork);
            // A crash leaves nothing unsynced, so the next one changes nothing.
            let before = contents(&fork);
            fork.crash(seed);
            assert_eq!(contents(&fork), before);
        }
    }
}
