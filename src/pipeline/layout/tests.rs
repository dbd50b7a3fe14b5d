//! What templates and patterns make of names, and which are refused.

use super::*;

const DAY: UnixMillis = UnixMillis(1_763_458_200_123);

fn layout(template: &str, pattern: &str) -> Layout {
    let name_pattern = (!pattern.is_empty()).then(|| pattern.to_owned());
    Layout::new(LayoutRule { template: template.to_owned(), name_pattern }).unwrap()
}

fn refused(template: &str, pattern: &str) -> String {
    let name_pattern = (!pattern.is_empty()).then(|| pattern.to_owned());
    Layout::new(LayoutRule { template: template.to_owned(), name_pattern }).unwrap_err().to_string()
}

fn dir(layout: &Layout, path: &str) -> Result<String, String> {
    let found = layout.dir(OsStr::new(path), DAY);
    found.map(|dir| dir.to_str().unwrap().to_owned()).map_err(|NoMatch(what)| what)
}

const NAMES: &str = r"^(?<source>[^_]*)_(?<day>[^.]*)";

#[test]
fn a_template_is_filled_with_times_groups_and_directories() {
    for (template, path, expected) in [
        ("ingest_date={ingest_date}", "a.csv", "ingest_date=2025-11-18"),
        ("ingest_date={ingest_date}/hour={ingest_hour}", "a.csv", "ingest_date=2025-11-18/hour=09"),
        ("raw/{ingest_date}T{ingest_hour}", "a.csv", "raw/2025-11-18T09"),
        ("{subdir}", "a.csv", ""),
        ("{subdir}", "x/y/a.csv", "x/y"),
        ("all/{subdir}/d={ingest_date}", "a.csv", "all/d=2025-11-18"),
        ("all/{subdir}/d={ingest_date}", "x/source=1/a.csv", "all/x/source%3D1/d=2025-11-18"),
        ("from={subdir}", "x/y/a.csv", "from=x%2Fy"),
    ] {
        assert_eq!(dir(&layout(template, ""), path).as_deref(), Ok(expected), "{template}, {path}");
    }
    let two = layout("source={source}/event_date={day:%Y%m%d}", NAMES);
    assert_eq!(dir(&two, "crm_20260102.csv").as_deref(), Ok("source=crm/event_date=2026-01-02"));
    assert_eq!(dir(&two, "below/crm_20260102.csv").as_deref(), Ok("source=crm/event_date=2026-01-02"));
    assert_eq!(dir(&two, "a=b:c_20260102.csv").as_deref(), Ok("source=a%3Db%3Ac/event_date=2026-01-02"));
    assert_eq!(Layout::default().rule(), layout("ingest_date={ingest_date}", "").rule());
    assert_eq!(dir(&Layout::default(), "a.csv").as_deref(), Ok("ingest_date=2025-11-18"));
}

/// A search, not a match of the whole name: `^` and `$` say where it begins and ends.
#[test]
fn the_pattern_is_searched_in_the_name_and_is_about_bytes() {
    let found = layout("s={s}", r"(?<s>\d+)");
    assert_eq!(dir(&found, "abc12.csv").as_deref(), Ok("s=12"));
    assert!(dir(&layout("s={s}", r"^(?<s>\d+)"), "abc12.csv").is_err());
    assert!(dir(&layout("s={s}", r"(?<s>\w+)$"), "über").is_ok_and(|dir| dir == "s=ber"), "\\w is ASCII");
    let bytes = layout("s={s}", r"^(?<s>.+)\.csv$");
    let latin1 = bytes.dir(OsStr::from_bytes(b"gr\xfcn.csv"), DAY).unwrap();
    assert_eq!(latin1.to_str(), Some("s=gr%FCn"));
    assert_eq!(dir(&bytes, "grün.csv").as_deref(), Ok("s=grün"));
    // Only the name, not the directories above it.
    assert!(dir(&layout("s={s}", r"^(?<s>x)"), "x/a.csv").is_err());
}

#[test]
fn what_cannot_be_a_directory_does_not_match() {
    let long = format!("{}_1", "x".repeat(250));
    for (template, path, why) in [
        ("s={source}", "a.csv", "does not match"),
        ("s={source}", "_1", "\"\" is empty"),
        ("s={source}", ".._1", "\"..\" cannot be"),
        ("s={source}", "._1", "\".\" cannot be"),
        ("{source}", ".hidden_1", "cannot begin with . or _: .hidden"),
        ("{day}", "a__hidden", "cannot begin with . or _: _hidden"),
        ("s={day}", "a___HIVE_DEFAULT_PARTITION__", "cannot be a value"),
        ("s=_{day}", "a__HIVE_DEFAULT_PARTITION__", "missing value"),
        ("s={day:%Y%m%d}", "a_20260230", "20260230 is no date %Y%m%d"),
        ("s={source}{source}", &long, "more than 255 bytes"),
        ("s={subdir}", "a_1", "{subdir}: \"\" is empty"),
        ("{subdir}", "x/_tmp/a_1", "cannot begin with . or _: _tmp"),
        ("{subdir}", "x/.git/a_1", "cannot begin with . or _: .git"),
        ("{subdir}", "x/../a_1", "\"..\" cannot be"),
    ] {
        let found = dir(&layout(template, NAMES), path);
        assert!(found.as_ref().is_err_and(|found| found.contains(why)), "{template}, {path}: {found:?}");
    }
    let optional = layout("s={s}", r"a(?<s>\d)?");
    assert!(dir(&optional, "a.csv").is_err_and(|why| why.contains("is empty")), "a group that takes no part");
    let deep = "d/".repeat(PARTITION_LEVELS_MAX);
    assert!(dir(&layout("{subdir}", ""), &format!("{deep}a.csv")).is_ok());
    assert!(dir(&layout("{subdir}", ""), &format!("{deep}d/a.csv")).is_err_and(|why| why.contains("levels")));
}

#[test]
fn files_stay_out_of_the_manifests_and_fit_into_the_journal() {
    let place = |template, warehouse: &str, manifests: &str, are_one| {
        layout(template, r"^(?<s>[^_]*)").within(Path::new(warehouse), Path::new(manifests), are_one)
    };
    for (warehouse, manifests, are_one) in [("/wh", "/wh", false), ("/wh", "/link", true)] {
        let here = place("{s}", warehouse, manifests, are_one);
        assert!(dir(&here, "2026_1").is_err_and(|why| why.contains("is for manifests")));
        assert!(dir(&here, "202_1").is_ok() && dir(&here, "20260_1").is_ok() && dir(&here, "x202_1").is_ok());
        let mirror = place("{subdir}", warehouse, manifests, are_one);
        assert!(dir(&mirror, "2026").is_err() && dir(&mirror, "a/2026").is_ok() && dir(&mirror, "2026/a").is_err());
    }
    let below = place("{s}/{subdir}", "/wh", "/wh/m/n", false);
    assert!(dir(&below, "n/m_1").is_err() && dir(&below, "n/x/m_1").is_err() && dir(&below, "x/m_1").is_ok());
    assert!(dir(&place("{s}", "/wh", "/elsewhere", false), "2026_1").is_ok());

    let long = format!("/{}", "w".repeat(3_500));
    let fits = |bytes| dir(&place("{subdir}", &long, "/m", false), &format!("{}/a.csv", "d".repeat(bytes)));
    let room = PATH_BYTES_MAX - long.len() - NAME_BYTES_MAX - 3;
    assert!(room < 255 || fits(255).is_ok());
    let name = vec!["d".repeat(100); 3].join("/");
    let longer = dir(&place("{subdir}", &long, "/m", false), &format!("{name}/{}/a.csv", "d".repeat(100)));
    assert!(longer.is_err_and(|why| why.contains("too long")), "{room}");
}

#[test]
fn a_bad_template_is_refused_with_its_place() {
    let long = "x".repeat(1_025);
    let deep = vec!["x"; 17].join("/");
    for (template, pattern, expected) in [
        ("", "", "--layout, character 1: a directory without a name"),
        ("/a", "", "--layout, character 1: a directory without a name"),
        ("a/", "", "--layout, character 3: a directory without a name"),
        ("a//b", "", "--layout, character 3: a directory without a name"),
        ("a/.b", "", "--layout, character 3: a directory's name cannot begin"),
        ("_a", "", "--layout, character 1: a directory's name cannot begin"),
        ("..", "", "--layout, character 1: a directory's name cannot begin"),
        ("ä/{day", "", "--layout, character 3: this { has no }"),
        ("a}b", "", "--layout, character 2: this } has no {"),
        ("a*b", "", "--layout, character 2: '*' cannot be"),
        ("a\nb", "", "--layout, character 2: '\\n' cannot be"),
        ("a%41", "", "--layout, character 2: '%' cannot be"),
        ("=a", "", "--layout, character 1: there is no key"),
        ("a=", "", "--layout, character 2: there is no value"),
        ("a=b=c", "", "--layout, character 4: a second ="),
        ("{ingest_date}=b", "", "--layout, character 1: a field before ="),
        ("a={ingest_date}/a={ingest_hour}", "", "--layout, character 17: a= is there twice"),
        ("ingest_date={ingest_hour}", "", "--layout, character 1: ingest_date= is followed by"),
        ("ingest_date=x{ingest_date}", "", "--layout, character 1: ingest_date= is followed by"),
        ("ingest_date=2026-01-01", "", "--layout, character 1: ingest_date= is followed by"),
        ("{ingest_date:%Y}", "", "--layout, character 2: {ingest_date} has no format"),
        ("a/{day}", "", "--layout, character 4: {day} is none of"),
        ("a/{day}", "(?<source>x)", "--layout, character 4: {day} is none of"),
        ("{}", "(?<source>x)", "--layout, character 2: a field's name"),
        ("{a b}", "(?<source>x)", "--layout, character 2: a field's name"),
        ("{source:%Y%m}", "(?<source>x)", "--layout, character 9: a date's format has each"),
        ("{source:%Y%m%d%H}", "(?<source>x)", "--layout, character 15: a date's format has %Y"),
        ("x", "(?<source>x", "--name-pattern, character 1: unclosed group"),
        ("x", "ä(?<source>x", "--name-pattern, character 2: unclosed group"),
        ("x", "a{2,1}", "--name-pattern, character 2: invalid repetition"),
        ("x", r"\p{Greek}", "--name-pattern, character 1: Unicode not allowed here"),
        ("x", "(?<subdir>x)", "--name-pattern: a group cannot have the name subdir"),
        ("x", r"(\w{500}){500}", "--name-pattern: it takes too much memory"),
        (&long, "", "--layout: it is longer than 1024 bytes"),
        ("x", &long, "--name-pattern: it is longer than 1024 bytes"),
        (&deep, "", "--layout, character 1: it has more than 16 directories"),
    ] {
        let found = refused(template, pattern);
        assert!(found.starts_with(expected), "{template:?}, {pattern:?}: {found}");
    }
    let nested = format!("{}x{}", "(".repeat(40), ")".repeat(40));
    assert!(refused("x", &nested).contains("nest"), "{}", refused("x", &nested));
    // A format may have a slash and an equals sign.
    let slashes = layout("d={d:%d/%m=%Y}", "(?<d>.*)");
    assert_eq!(slashes.dir(OsStr::new("x"), DAY).ok(), None);
}
