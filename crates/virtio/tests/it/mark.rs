//! These tests can switch guards off, and it shows: a mark stands in their program that must not
//! stand in the released one.

const MARK: &[u8] = b"compiled with guards that can be switched off";

#[test]
fn a_program_that_can_switch_guards_off_carries_the_mark() {
    let program = std::env::current_exe().expect("this program has a path");
    let bytes = std::fs::read(program).expect("and can be read");
    // The bytes of the constant above are one occurrence; the mark itself is another.
    let count = bytes.windows(MARK.len()).filter(|window| *window == MARK).count();
    assert!(count >= 2, "the mark was found {count} times");
}
