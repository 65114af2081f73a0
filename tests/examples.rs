//! Every file in `docs/examples/` loads without a word of complaint: it can be run as it is.

use lb_config::{Source, load};

#[test]
fn every_example_loads_without_a_diagnostic() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/examples");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("there are examples")
        .map(|entry| entry.expect("a folder that can be read").path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let text = std::fs::read_to_string(&file).expect("an example is a text");
        let name = file.file_name().and_then(std::ffi::OsStr::to_str).expect("a plain name");
        let (config, diagnostics) = load(&Source { name, text: &text });
        assert!(config.is_some() && diagnostics.is_empty(), "{name}: {diagnostics:?}");
    }
}
