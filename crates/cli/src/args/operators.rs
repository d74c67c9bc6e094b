//! What is done to messages under way: `cancel`, `pause`, `resume`.

use clap::{Args, ValueEnum};

use super::LaneName;

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("named").required(true).args(["message", "key", "order"]))]
pub struct CancelArgs {
    /// Tenant that owns the message
    #[arg(long)]
    pub tenant: String,
    /// The message, by its id
    #[arg(long, value_name = "ID")]
    pub message: Option<String>,
    /// The message, by the idempotency key of its request
    #[arg(long)]
    pub key: Option<String>,
    /// All messages of an order, by the order id of their requests
    #[arg(long, value_name = "ORDER_ID")]
    pub order: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// How long to wait for the answers; 0s only asks
    #[arg(long, default_value = "10s", value_name = "SPAN")]
    pub wait: String,
    /// Who asks; the name of this host is added
    #[arg(long, env = "USER", value_name = "NAME")]
    pub by: Option<String>,
}

/// Which messages; all that is given must fit.
#[derive(Clone, Debug, Default, Args)]
pub struct ScopeArgs {
    /// Only this tenant's messages
    #[arg(long)]
    pub tenant: Option<String>,
    /// Only this lane
    #[arg(long)]
    pub lane: Option<LaneName>,
    /// Only templates of this category
    #[arg(long)]
    pub category: Option<CategoryName>,
    /// Only this campaign
    #[arg(long)]
    pub campaign: Option<String>,
    /// Only this template
    #[arg(long, value_name = "NAME")]
    pub template: Option<String>,
    /// Only this language of the template, for example en_US
    #[arg(long, requires = "template")]
    pub language: Option<String>,
    /// Only this number, by Meta's id of it
    #[arg(long, value_name = "PHONE_NUMBER_ID")]
    pub number: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CategoryName {
    Authentication,
    Utility,
    Marketing,
}

#[derive(Debug, Args)]
pub struct PauseArgs {
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Everything: all tenants, both lanes
    #[arg(long)]
    pub all: bool,
    /// Why, for whoever finds messages waiting
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// How long, at most 168h; then it lifts itself
    #[arg(long = "for", default_value = "4h", value_name = "SPAN")]
    pub span: String,
    /// Who pauses; the name of this host is added
    #[arg(long, env = "USER", value_name = "NAME")]
    pub by: Option<String>,
    /// Also if no tenant, number or template fits by now
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// Pauses, as `pauses` lists them
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Instead of ids: the pauses with exactly this scope
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Every pause there is
    #[arg(long)]
    pub all: bool,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::args::Cli;

    #[test]
    fn a_cancel_names_its_message_in_one_way() {
        let parses = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
        assert!(parses("sendplane cancel --tenant acme --key k --reason gone"));
        assert!(parses("sendplane cancel --tenant acme --order 17 --reason gone --wait 2s"));
        assert!(!parses("sendplane cancel --tenant acme --reason gone"));
        assert!(!parses("sendplane cancel --tenant acme --key k --order 17 --reason gone"));
        assert!(!parses("sendplane cancel --tenant acme --key k"));
    }

    #[test]
    fn a_pause_has_a_reason_and_a_language_its_template() {
        let parses = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
        assert!(parses("sendplane pause --all --reason fire --for 2h"));
        assert!(parses("sendplane pause --lane bulk --category marketing --reason fire"));
        assert!(!parses("sendplane pause --all"));
        assert!(!parses("sendplane pause --category offers --reason fire"));
        assert!(!parses("sendplane pause --language en_US --reason fire"));
        assert!(parses("sendplane resume p-1 p-2"));
    }
}
