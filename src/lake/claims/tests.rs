//! What entries add up to.

use super::*;
use crate::lake::bytes::sha256;
use crate::lake::entry::{Claim, Claims, Header, Place};
use crate::lake::format::LakeId;
use crate::lake::keys;
use crate::types::UnixMillis;

fn entry(number: u64, floor: u64, body: Body) -> Entry {
    let (lake, predecessor) = (LakeId([0; 16]), Sha256([0; 32]));
    Entry { header: Header { lake, shard: 0, number, predecessor, floor, host: [0; 16], serial: 0 }, body }
}

fn claims(contents: &[(u8, u32)]) -> Body {
    let claims = contents.iter().map(|(content, generation)| {
        let sha256 = sha256(&[*content]);
        Claim {
            sha256,
            generation: *generation,
            size: 1,
            ingested_at: UnixMillis(0),
            key: keys::data("d", b"a.csv", &sha256, *generation),
            bytes: Place::Pack { pack: 0, offset: 0 },
            line: b"{}".to_vec(),
        }
    });
    let packs = vec![keys::pack(0, 0, &[0; 16], &sha256(b"p"))];
    Body::Claims(Claims { packs, claims: claims.collect() })
}

fn add(contents: &mut Contents, entry: &Entry) {
    assert_eq!(contents.check(entry), Ok(()));
    contents.add(entry);
}

#[test]
fn a_content_is_claimed_once() {
    let mut contents = Contents::default();
    add(&mut contents, &entry(0, 0, claims(&[(1, 0), (2, 0)])));
    assert_eq!(contents.next_generation(&sha256(&[1])), None);
    assert_eq!(contents.next_generation(&sha256(&[3])), Some(0));
    assert!(contents.check(&entry(1, 0, claims(&[(3, 0), (1, 0)]))).is_err());
    assert!(contents.check(&entry(1, 0, claims(&[(3, 1)]))).is_err());
}

#[test]
fn a_forgotten_content_has_a_further_generation() {
    let mut contents = Contents::default();
    add(&mut contents, &entry(0, 0, claims(&[(1, 0)])));
    add(&mut contents, &entry(1, 0, claims(&[(2, 0)])));
    let forget = |below, names: &[u8]| {
        Body::Forget(Forget { below, contents: names.iter().map(|name| sha256(&[*name])).collect() })
    };
    assert!(contents.check(&entry(2, 1, forget(0, &[2]))).is_err(), "unfinished");
    assert!(contents.check(&entry(2, 2, forget(0, &[3]))).is_err(), "unknown");
    add(&mut contents, &entry(2, 2, forget(1, &[2])));
    assert!(contents.check(&entry(3, 2, forget(0, &[2]))).is_err(), "forgotten already");
    for content in [1, 2] {
        assert_eq!(contents.next_generation(&sha256(&[content])), Some(1));
    }
    assert!(contents.check(&entry(3, 2, claims(&[(1, 0)]))).is_err());
    add(&mut contents, &entry(3, 2, claims(&[(1, 1)])));
    assert_eq!(contents.next_generation(&sha256(&[1])), None);
}

#[test]
fn the_floor_never_falls() {
    let mut contents = Contents::default();
    add(&mut contents, &entry(5, 4, claims(&[(1, 0)])));
    assert!(contents.check(&entry(6, 3, claims(&[(2, 0)]))).is_err());
    assert_eq!(contents.floor(), 4);
}
