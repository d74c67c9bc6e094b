use sendplane_stages::directory::{Change, sample};

use super::*;
use crate::args::{CategoryName, LaneName, ScopeArgs};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn tables() -> Tables {
    let mut tables = Tables::default();
    for tenant in ["acme", "globex"] {
        tables.apply(sample::set_tenant(sample::tenant(tenant)));
    }
    tables.apply(sample::set_template(sample::template("acme", "sale", "marketing", 1)));
    tables.apply(sample::set_template(sample::template("acme", "code", "authentication", 1)));
    tables.apply(sample::set_template(sample::template("globex", "order", "utility", 1)));
    tables
}

fn args(scope: ScopeArgs) -> PauseArgs {
    PauseArgs {
        scope,
        all: false,
        reason: "a fire".into(),
        span: "4h".into(),
        by: Some("ada".into()),
        force: false,
    }
}

fn made(args: &PauseArgs) -> Result<Switch, String> {
    switch(args, "p-1".into(), NOW).map_err(|fault| match fault {
        Fault::Input(text) => text,
        Fault::Failed(error) => panic!("{error:#}"),
    })
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn a_pause_says_what_it_holds_why_and_until_when() {
    let scope = ScopeArgs {
        tenant: some("acme"),
        lane: Some(LaneName::Bulk),
        category: Some(CategoryName::Marketing),
        campaign: some("autumn"),
        template: some("sale"),
        language: some("en"),
        number: some("acme-number"),
    };
    let found = made(&args(scope.clone())).unwrap();
    assert_eq!(found.expires_at, NOW + Duration::from_secs(4 * 3600));
    assert!(found.created_by.starts_with("ada"));
    assert_eq!(
        told(&found),
        "tenant acme, lane bulk, category marketing, campaign autumn, template sale, language en, \
         number acme-number"
    );
    assert!(Scope::read(&scope).unwrap().is_of(&found));
    assert_eq!(Scope::read(&scope).unwrap().check(&tables()), Ok(()));
    let all = made(&PauseArgs { all: true, ..args(ScopeArgs::default()) }).unwrap();
    assert_eq!(told(&all), "everything");
    assert!(!Scope::read(&scope).unwrap().is_of(&all));
}

#[test]
fn bad_input_names_the_flag_and_the_fix() {
    let lane = || ScopeArgs { lane: Some(LaneName::Bulk), ..ScopeArgs::default() };
    let cases = [
        (args(ScopeArgs::default()), "say what to hold", "--all"),
        (PauseArgs { all: true, ..args(lane()) }, "--all", "leave one out"),
        (PauseArgs { reason: " ".into(), ..args(lane()) }, "--reason", "why these"),
        (PauseArgs { span: "soon".into(), ..args(lane()) }, "--for soon", "such as 30m"),
        (PauseArgs { span: "-2h".into(), ..args(lane()) }, "--for -2h", "negative"),
        (PauseArgs { span: "0s".into(), ..args(lane()) }, "--for 0s", "at least 1s"),
        (PauseArgs { span: "169h".into(), ..args(lane()) }, "--for 169h", "at most 168h"),
        (
            args(ScopeArgs { campaign: some(""), ..ScopeArgs::default() }),
            "--campaign",
            "leave it out",
        ),
    ];
    for (args, flag, fix) in cases {
        let text = made(&args).unwrap_err();
        assert!(text.starts_with(flag) && text.contains(fix), "{text}");
    }
    made(&PauseArgs { span: "168h".into(), ..args(lane()) }).unwrap();
}

#[test]
fn a_scope_that_can_hold_nothing_is_an_error() {
    let none = ScopeArgs::default;
    let cases = [
        (ScopeArgs { tenant: some("acne"), ..none() }, "--tenant acne", "one of acme, globex"),
        (ScopeArgs { number: some("1"), ..none() }, "--number 1", "acme-number, globex-number"),
        (
            ScopeArgs { tenant: some("acme"), number: some("globex-number"), ..none() },
            "--number globex-number",
            "of globex",
        ),
        (ScopeArgs { template: some("sail"), ..none() }, "--template sail", "code, order, sale"),
        (
            ScopeArgs { tenant: some("acme"), template: some("order"), ..none() },
            "--template order",
            "one of code, sale,",
        ),
        (
            ScopeArgs { template: some("sale"), language: some("de"), ..none() },
            "--language de",
            "one of en,",
        ),
        (
            ScopeArgs {
                lane: Some(LaneName::Transactional),
                category: Some(CategoryName::Marketing),
                ..none()
            },
            "--lane transactional --category marketing",
            "leave a part out",
        ),
        (
            ScopeArgs { template: some("sale"), number: some("globex-number"), ..none() },
            "--template sale --number globex-number",
            "leave a part out",
        ),
    ];
    for (scope, flag, fix) in cases {
        let text = Scope::read(&scope).unwrap().check(&tables()).unwrap_err();
        assert!(text.starts_with(flag) && text.contains(fix), "{text}");
    }
    for fine in [
        ScopeArgs { lane: Some(LaneName::Transactional), ..none() },
        ScopeArgs { category: Some(CategoryName::Utility), lane: Some(LaneName::Bulk), ..none() },
        ScopeArgs { campaign: some("autumn"), tenant: some("globex"), ..none() },
        none(),
    ] {
        Scope::read(&fine).unwrap().check(&tables()).unwrap();
    }
}

#[test]
fn what_is_lifted_is_named_by_id_by_its_scope_or_all_of_it() {
    let mut tables = tables();
    let acme = made(&args(ScopeArgs { tenant: some("acme"), ..ScopeArgs::default() })).unwrap();
    let bulk = Switch { id: "p-2".into(), lane: Some("bulk".into()), ..sample::switch("p-2", NOW) };
    for row in [&acme, &bulk] {
        tables.apply(sample::set_switch(row.clone()));
    }
    let resume = |ids: &[&str], tenant: Option<&str>, all| {
        let args = ResumeArgs {
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            scope: ScopeArgs { tenant: tenant.map(str::to_owned), ..ScopeArgs::default() },
            all,
        };
        chosen(&args, &tables)
            .map(|found| found.iter().map(|switch| switch.id.clone()).collect::<Vec<_>>())
            .map_err(|fault| format!("{fault:?}"))
    };
    assert_eq!(resume(&["p-2"], None, false).unwrap(), ["p-2"]);
    assert_eq!(resume(&[], Some("acme"), false).unwrap(), ["p-1"]);
    assert_eq!(resume(&[], None, true).unwrap(), ["p-1", "p-2"]);
    assert!(resume(&["p-2", "p-3"], None, false).unwrap_err().contains("ID p-3: no such pause"));
    assert!(resume(&[], Some("globex"), false).unwrap_err().contains("exactly this scope"));
    assert!(resume(&[], None, false).unwrap_err().contains("in one way"));
    assert!(resume(&["p-2"], None, true).unwrap_err().contains("in one way"));
    tables.apply(Change::Switch("p-1".into(), None));
    assert_eq!(tables.switches.len(), 1);
}

#[test]
fn a_list_tells_what_is_in_force() {
    let held = sample::switch("p-9", NOW);
    assert_eq!(row(&held, NOW)[2], "expired");
    assert_eq!(as_json(&held, NOW)["expired"], true);
    assert_eq!(row(&held, Timestamp::from_millis(1))[2], "in force");
}
