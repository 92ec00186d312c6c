//! Another set of the same schema is run as the first is, and what is wrong in it is found: nothing depends on ids, names or numbers of one set.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};
use tempfile::TempDir;

fn first_set() -> Value {
    let text = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("flask.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn vectors(set: &mut Value) -> &mut Vec<Value> {
    set["vectors"].as_array_mut().unwrap()
}

/// The first valid session in a cookie that is written to the byte.
fn exact(set: &mut Value) -> &mut Value {
    vectors(set).iter_mut().find(|vector| vector["kind"] == "cookie" && vector["reencode"] == "exact").unwrap()
}

fn recount(set: &mut Value) {
    let of = |valid: bool, lenient: bool| {
        let is_it = |vector: &&Value| {
            let expect = &vector["expect"];
            (expect["outcome"] == "valid") == valid && (expect["lenient"] == true) == lenient
        };
        set["vectors"].as_array().unwrap().iter().filter(is_it).count()
    };
    set["counts"] = json!({ "valid": of(true, false), "lenient": of(true, true), "invalid": of(false, false) });
}

fn run(path: impl AsRef<Path>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dewar-vectors")).arg("--json").arg(path.as_ref()).output().unwrap()
}

fn run_set(set: &Value) -> (Option<i32>, Value) {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("second.json"), set.to_string()).unwrap();
    let output = run(folder.path());
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code(), said["files"][0].clone())
}

/// The set has one mismatch, which says this.
fn assert_found(set: &Value, what: &str) {
    let (code, said) = run_set(set);
    assert_eq!((code, &said["mismatches"]), (Some(1), &json!(1)), "{said}");
    assert!(said["differences"][0]["what"].as_str().unwrap().contains(what), "{said}");
}

#[test]
fn a_set_of_fewer_vectors_under_other_names_passes_and_is_counted_anew() {
    let mut set = first_set();
    let mut at = 0;
    vectors(&mut set).retain(|_| {
        at += 1;
        at % 3 != 0
    });
    let configs = set["configs"].as_object().unwrap().iter().map(|(name, it)| (format!("{name} 2"), it.clone()));
    set["configs"] = Value::Object(configs.collect());
    for (at, vector) in vectors(&mut set).iter_mut().enumerate() {
        vector["id"] = format!("second/{at}").into();
        for member in ["config", "minted_with_config"] {
            if let Some(name) = vector[member].as_str() {
                vector[member] = format!("{name} 2").into();
            }
        }
    }
    recount(&mut set);
    let (code, said) = run_set(&set);
    assert_eq!(code, Some(0), "{said}");
    let number = |column: &str| said[column].as_u64().unwrap() as usize;
    let all = set["vectors"].as_array().unwrap().len();
    assert_eq!(number("valid") + number("lenient") + number("invalid"), all);
    assert_eq!(number("read") + number("refused") + number("left_out"), all);
    assert_eq!(number("read") + number("refused"), number("explained"));
}

#[test]
fn a_wrong_value_is_found() {
    let mut set = first_set();
    let session = exact(&mut set)["session"].as_object_mut().unwrap();
    session.insert("a_name_that_is_not_there".into(), json!(1));
    assert_found(&set, "a_name_that_is_not_there");
}

#[test]
fn a_wrong_byte_is_found() {
    let mut set = first_set();
    let vector = vectors(&mut set)
        .iter_mut()
        .find(|vector| vector["reencode"] == "exact" && vector["set_cookie"][0]["value"].is_string())
        .unwrap();
    let value = vector["set_cookie"][0]["value"].as_str().unwrap();
    vector["set_cookie"][0]["value"] = format!("{value}A").into();
    assert_found(&set, "is written as");
}

#[test]
fn what_must_be_refused_and_is_read_is_found() {
    let mut set = first_set();
    exact(&mut set)["expect"] = json!({ "outcome": "invalid" });
    recount(&mut set);
    assert_found(&set, "read as");
}

#[test]
fn a_wrong_count_is_found() {
    let mut set = first_set();
    set["counts"]["valid"] = json!(1);
    assert_found(&set, "the file says 1");
}

#[test]
fn what_is_no_file_of_vectors_is_passed_over_in_a_folder_and_refused_alone() {
    let folder = TempDir::new().unwrap();
    let foreign = folder.path().join("package.json");
    fs::write(&foreign, "{}").unwrap();
    assert_eq!(run(&foreign).status.code(), Some(2));
    assert_eq!(run(folder.path()).status.code(), Some(2), "there is nothing else in the folder");
    fs::write(folder.path().join("flask.json"), first_set().to_string()).unwrap();
    let output = run(folder.path());
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stdout).unwrap().contains("package.json"));
    assert_eq!(run(folder.path().join("nowhere")).status.code(), Some(2));
    assert_eq!(run("--nonsense").status.code(), Some(2));
}
