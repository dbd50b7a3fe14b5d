//! Reproducible randomness: a small generator, and the choice of unsynced changes that survive a power cut.

/// SplitMix64 (Steele, Lea and Flood, OOPSLA'14): one word of state; any seed works, zero too.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..bound`; 0 if the bound is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // The upper half of the product: no division, and a bias too small for any test to notice.
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// As [`Rng::below`], for lengths and indices.
    pub(crate) fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap_or(0)
    }
}

/// The unsynced changes that survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// Nothing: only synced data is left.
    Nothing,
    /// Everything, as if the kernel had written it all back a moment before.
    Everything,
    /// Any subset, drawn from this seed.
    Seed(u64),
}

/// The probability that one unsynced change survives, in 1/256. Both ends are certain.
///
/// A fair coin alone would almost never lose, or keep, all 100 sectors of a file, and programs break in just these
/// corner cases (all names and no content, all sizes and no content).
const ODDS: [u64; 6] = [0, 24, 128, 128, 232, 256];

/// Decides for each change whether it survives one power cut.
pub(super) struct Fate {
    rng: Rng,
    survival: Survival,
    /// The odds that most changes of a kind share in this power cut.
    common: [u64; 4],
}

/// The kinds of changes; odds are drawn for each separately.
#[derive(Clone, Copy)]
pub(super) enum Of {
    Names,
    Content,
    Size,
    Meta,
}

/// The odds for one file's changes of one kind.
#[derive(Clone, Copy)]
pub(super) struct Odds(u64);

impl Odds {
    /// Whether a change certainly survives or certainly does not; None if it is random.
    pub(super) fn certain(self) -> Option<bool> {
        match self.0 {
            0 => Some(false),
            256 => Some(true),
            _ => None,
        }
    }
}

impl Fate {
    pub(super) fn new(survival: Survival) -> Fate {
        let mut rng = Rng::new(match survival {
            Survival::Seed(seed) => seed,
            Survival::Nothing | Survival::Everything => 0,
        });
        let common = std::array::from_fn(|_| ODDS[rng.index(ODDS.len())]);
        Fate { rng, survival, common }
    }

    /// The odds for the next file: in two cases of three the common ones.
    pub(super) fn odds(&mut self, of: Of) -> Odds {
        match self.survival {
            Survival::Nothing => Odds(0),
            Survival::Everything => Odds(256),
            Survival::Seed(_) if self.rng.below(3) > 0 => Odds(self.common[of as usize]),
            Survival::Seed(_) => Odds(ODDS[self.rng.index(ODDS.len())]),
        }
    }

    /// True if one change survives.
    pub(super) fn keeps(&mut self, odds: Odds) -> bool {
        self.rng.below(256) < odds.0
    }

    /// Chooses the state that the disk ends in: 0 is the durable one, `states` the newest.
    pub(super) fn pick(&mut self, odds: Odds, states: usize) -> usize {
        match odds.0 {
            0 => 0,
            256 => states,
            // States in the middle are chosen sometimes, whatever the odds are.
            _ if self.rng.below(4) == 0 => self.rng.index(states + 1),
            _ if self.keeps(odds) => states,
            _ => 0,
        }
    }
}
