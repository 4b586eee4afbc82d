//! The structs of the header and those declared in Rust are the same.

#[test]
fn both_languages_lay_the_structs_out_alike() {
    // SAFETY: a constant array of C, which asserts that it has this length.
    let c = unsafe { aqueduct_reader_sys::aqueduct_sys_layout };
    assert_eq!(aqueduct_reader_sys::LAYOUT, c);
}
