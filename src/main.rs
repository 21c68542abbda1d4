//! argv and stdin decide the role; nothing else.
fn main() {}
