//! Clocks that are wrong for a while, and what is remembered meanwhile; a warehouse that moves to another path.
