//! `docs/frameworks.md` shows the programs as they are.

const PAGE: &str = include_str!("../../docs/frameworks.md");

/// The blocks of the page in this language.
fn blocks(language: &str) -> Vec<&'static str> {
    let mut parts = PAGE.split("```");
    let mut blocks = Vec::new();
    while let (Some(_prose), Some(block)) = (parts.next(), parts.next()) {
        if let Some(block) = block.strip_prefix(&format!("{language}\n")) {
            blocks.push(block);
        }
    }
    blocks
}

#[test]
fn the_page_shows_every_program_whole() {
    let programs = [
        include_str!("../src/axum.rs"),
        include_str!("../src/actix.rs"),
        include_str!("../src/poem.rs"),
        include_str!("../src/salvo.rs"),
        include_str!("../src/by_hand.rs"),
    ];
    let blocks = blocks("rust");
    assert_eq!(blocks.len(), programs.len());
    for (block, program) in blocks.into_iter().zip(programs) {
        assert_eq!(block, program);
    }
}

#[test]
fn the_page_names_the_versions_that_are_tested() {
    let tested: Vec<_> = include_str!("../Cargo.toml").lines().collect();
    let lines = blocks("toml").into_iter().flat_map(str::lines);
    for line in lines.filter(|line| !line.starts_with("dewar = ")) {
        assert!(tested.contains(&line), "{line}");
    }
}
