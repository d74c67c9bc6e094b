//! What a pause holds: read from flags, compared with the tables, told to people.

use sendplane_domain::id::{PhoneNumberId, TemplateName, TenantId};
use sendplane_domain::lane::Lane;
use sendplane_wire::record::{Switch, Template, Tenant};

use crate::args::{CategoryName, LaneName, ScopeArgs};
use crate::session::Fault;
use crate::tables::Tables;

/// Names listed in an error, at most.
const LISTED_MAX: usize = 20;

/// The parts of a switch that say what it holds; an absent one fits everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    pub tenant: Option<TenantId>,
    pub lane: Option<Lane>,
    pub category: Option<&'static str>,
    pub campaign: Option<String>,
    pub template: Option<TemplateName>,
    pub language: Option<String>,
    pub number: Option<PhoneNumberId>,
}

impl Scope {
    /// The scope that the flags describe.
    pub fn read(args: &ScopeArgs) -> Result<Self, Fault> {
        let text = |flag: &str, given: &Option<String>| match given.as_deref() {
            Some("") => Err(Fault::input(format!("{flag}: is empty; name one or leave it out"))),
            given => Ok(given.map(str::to_owned)),
        };
        Ok(Self {
            tenant: text("--tenant", &args.tenant)?.map(TenantId::new),
            lane: args.lane.map(|lane| match lane {
                LaneName::Transactional => Lane::Transactional,
                LaneName::Bulk => Lane::Bulk,
            }),
            category: args.category.map(|category| match category {
                CategoryName::Authentication => "authentication",
                CategoryName::Utility => "utility",
                CategoryName::Marketing => "marketing",
            }),
            campaign: text("--campaign", &args.campaign)?,
            template: text("--template", &args.template)?.map(TemplateName::new),
            language: text("--language", &args.language)?,
            number: text("--number", &args.number)?.map(PhoneNumberId::new),
        })
    }

    /// Whether it holds everything.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Whether `switch` has this scope, no wider and no narrower one.
    pub fn is_of(&self, switch: &Switch) -> bool {
        self.tenant == switch.tenant
            && self.lane.map(Lane::as_str) == switch.lane.as_deref()
            && self.category == switch.category.as_deref()
            && self.campaign == switch.campaign
            && self.template == switch.template_name
            && self.language == switch.template_language
            && self.number == switch.phone_number_id
    }

    /// Why no message can fit, naming the flag and the fix.
    pub fn check(&self, tables: &Tables) -> Result<(), String> {
        self.check_names(tables)?;
        let fits = |tenant: &Tenant| {
            self.fits_tenant(tenant)
                && (!self.needs_template() || self.has_template(tenant, tables))
        };
        if tables.tenants.values().any(fits) {
            return Ok(());
        }
        Err(format!(
            "{}: no tenant's numbers and templates fit all of it, so it would hold nothing; leave \
             a part out",
            self.flags()
        ))
    }

    fn check_names(&self, tables: &Tables) -> Result<(), String> {
        let tenants = || tables.tenants.values().filter(|row| self.is_own(&row.tenant));
        if let Some(tenant) = &self.tenant
            && !tables.tenants.contains_key(tenant)
        {
            let names = tables.tenants.keys().map(TenantId::as_str);
            return Err(format!("--tenant {tenant}: no such tenant; {}", one_of(names)));
        }
        if let Some(number) = &self.number
            && !tenants().any(|row| self.owns_number(row))
        {
            let owner = tables.tenants.values().find(|row| self.owns_number(row));
            return Err(match owner {
                Some(owner) => format!(
                    "--number {number}: is a number of {}; name that tenant or leave --tenant out",
                    owner.tenant
                ),
                None => {
                    let numbers = tenants().flat_map(|row| &row.phone_numbers);
                    let names = numbers.map(|number| number.phone_number_id.as_str());
                    format!("--number {number}: no such phone number id; {}", one_of(names))
                }
            });
        }
        let Some(template) = &self.template else { return Ok(()) };
        let own = || tables.templates.values().filter(|row| self.is_own(&row.tenant));
        let named = || own().filter(|row| row.name == *template);
        if named().next().is_none() {
            let names = own().map(|row| row.name.as_str());
            return Err(format!("--template {template}: no such template; {}", one_of(names)));
        }
        if let Some(language) = &self.language
            && !named().any(|row| row.language == *language)
        {
            let names = named().map(|row| row.language.as_str());
            return Err(format!("--language {language}: not of {template}; {}", one_of(names)));
        }
        Ok(())
    }

    fn is_own(&self, tenant: &TenantId) -> bool {
        self.tenant.as_ref().is_none_or(|own| own == tenant)
    }

    fn owns_number(&self, tenant: &Tenant) -> bool {
        let Some(wanted) = &self.number else { return true };
        tenant.phone_numbers.iter().any(|number| number.phone_number_id == *wanted)
    }

    fn fits_tenant(&self, tenant: &Tenant) -> bool {
        self.is_own(&tenant.tenant) && self.owns_number(tenant)
    }

    fn needs_template(&self) -> bool {
        self.template.is_some() || self.category.is_some()
    }

    /// Whether the tenant has a template that fits, in a lane that messages with it can be in: the
    /// category moves a message down to bulk, and never up.
    fn has_template(&self, tenant: &Tenant, tables: &Tables) -> bool {
        let lane_fits =
            |row: &Template| self.lane != Some(Lane::Transactional) || row.category != "marketing";
        tables.templates.values().any(|row| {
            row.tenant == tenant.tenant
                && self.template.as_ref().is_none_or(|name| row.name == *name)
                && self.language.as_ref().is_none_or(|language| row.language == *language)
                && self.category.is_none_or(|category| row.category == category)
                && lane_fits(row)
        })
    }

    fn flags(&self) -> String {
        let of = |flag: &str, value: Option<&str>| value.map(|value| format!("--{flag} {value}"));
        let flags = [
            of("tenant", self.tenant.as_ref().map(TenantId::as_str)),
            of("lane", self.lane.map(Lane::as_str)),
            of("category", self.category),
            of("campaign", self.campaign.as_deref()),
            of("template", self.template.as_ref().map(TemplateName::as_str)),
            of("language", self.language.as_deref()),
            of("number", self.number.as_ref().map(PhoneNumberId::as_str)),
        ];
        flags.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

/// `use one of a, b, c`, each once.
fn one_of<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: std::collections::BTreeSet<&str> = names.collect();
    if names.is_empty() {
        return "there is none yet, or give --force".to_owned();
    }
    let more = if names.len() > LISTED_MAX { ", …" } else { "" };
    let listed: Vec<&str> = names.into_iter().take(LISTED_MAX).collect();
    format!("use one of {}{more}, or give --force", listed.join(", "))
}

/// What a switch holds, in words.
pub fn told(switch: &Switch) -> String {
    let of = |word: &str, value: Option<&str>| value.map(|value| format!("{word} {value}"));
    let parts = [
        of("tenant", switch.tenant.as_ref().map(TenantId::as_str)),
        of("lane", switch.lane.as_deref()),
        of("category", switch.category.as_deref()),
        of("campaign", switch.campaign.as_deref()),
        of("template", switch.template_name.as_ref().map(TemplateName::as_str)),
        of("language", switch.template_language.as_deref()),
        of("number", switch.phone_number_id.as_ref().map(PhoneNumberId::as_str)),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "everything".to_owned() } else { parts.join(", ") }
}
