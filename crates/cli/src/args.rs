//! The command line.

mod operators;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use sendplane_wire::cloud_api::{BASE_URL, VERSION};

pub use operators::{CancelArgs, CategoryName, PauseArgs, ResumeArgs, ScopeArgs};

/// Operates a send plane: topics, schemas, tenants, templates, messages
#[derive(Debug, Parser)]
#[command(name = "sendplane", version)]
pub struct Cli {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub struct Globals {
    /// Kafka brokers, host:port,host:port
    #[arg(long, global = true, env = "SENDPLANE_BROKERS", value_name = "LIST")]
    pub brokers: Option<String>,
    /// Base of the registry's Confluent API, http://host:port/apis/ccompat/v7
    #[arg(long, global = true, env = "SENDPLANE_REGISTRY", value_name = "URL")]
    pub registry: Option<String>,
    /// A librdkafka property; NAME_file=PATH reads the value from a file
    #[arg(short = 'X', global = true, value_name = "NAME=VALUE")]
    pub properties: Vec<String>,
    /// Output format
    #[arg(short, long, global = true, default_value = "table")]
    pub output: Format,
    /// Filter of the log on standard error
    #[arg(
        long,
        global = true,
        env = "SENDPLANE_LOG",
        default_value = "error",
        value_name = "FILTER"
    )]
    pub log: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create and compare topics
    #[command(subcommand)]
    Topics(Topics),
    /// Register and check schemas
    #[command(subcommand)]
    Schemas(Schemas),
    /// Set tenants
    #[command(subcommand)]
    Tenants(Apply),
    /// Set templates
    #[command(subcommand)]
    Templates(Apply),
    /// Record a person's consent
    #[command(subcommand)]
    Consent(Consent),
    /// Ask for messages
    #[command(subcommand)]
    Request(Request),
    /// Print the committed records of a topic as JSON lines
    Tail(Tail),
    /// Look at one message
    #[command(subcommand)]
    Message(Message),
    /// Look at outcomes
    #[command(subcommand)]
    Outcomes(Outcomes),
    /// Withdraw a message before it is sent, and wait for the answer
    ///
    /// Exit codes: 0 cancelled, 3 too late, 4 not found, 5 not answered in time. Of several
    /// messages of an order the answer that asks for most attention counts.
    Cancel(CancelArgs),
    /// Hold back messages until the pause is lifted or expires; nothing is lost or sent meanwhile
    Pause(PauseArgs),
    /// Lift pauses
    Resume(ResumeArgs),
    /// List pauses
    Pauses,
    /// Look at webhook gateways, and forget those that are gone for good
    #[command(subcommand)]
    Gateways(Gateways),
    /// Look at phone numbers
    #[command(subcommand)]
    Numbers(Numbers),
    /// Look at dead letters, and give them again once their cause is mended
    #[command(subcommand)]
    Dlq(Dlq),
    /// Look at stores
    #[command(subcommand)]
    State(State),
}

#[derive(Debug, Subcommand)]
pub enum Gateways {
    /// List every gateway on record and the time in which it may have lost webhooks
    List,
    /// Remove the record of an instance that will not come back; until then no silence of webhooks
    /// proves anything, and doubts end as unknown
    Forget {
        /// Its instance id
        #[arg(value_name = "INSTANCE")]
        instance: String,
        /// Although it wrote its record less than a minute ago
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum Numbers {
    /// Show the limits of a number, how much of them is used, and which of them binds now
    Show {
        /// The number, by Meta's id of it
        #[arg(value_name = "PHONE_NUMBER_ID")]
        number: String,
        /// safety-percent of the send stages' configuration, if it is not the default
        #[arg(long, value_parser = clap::value_parser!(u32).range(0..=90))]
        safety_percent: Option<u32>,
    },
}

#[derive(Debug, Subcommand)]
pub enum Topics {
    /// Create what is missing and compare what exists; alters and deletes nothing
    Apply {
        /// Partitions of every partitioned topic; fixed for ever at the first apply [default: as
        /// existing topics have, else 16]
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        partitions: Option<u32>,
        /// Replication factor of new topics
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
        replication: u32,
    },
    /// List all topics and how they stand
    List,
}

#[derive(Debug, Subcommand)]
pub enum Schemas {
    /// Register every schema and set its compatibility level; does nothing the second time
    Register,
    /// Check the schemas themselves, then against the registry
    Check {
        /// Without the registry
        #[arg(long)]
        offline: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum Apply {
    /// Write the rows of a YAML file; rows that are not in it stay as they are
    Apply {
        /// The file
        #[arg(value_name = "FILE.yaml")]
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub enum Consent {
    /// Record that consent was given or withdrawn now
    Set {
        /// Tenant the consent concerns
        #[arg(long)]
        tenant: String,
        /// The person, +15551234567
        #[arg(long)]
        to: String,
        /// What it covers
        #[arg(long)]
        scope: Scope,
        /// The state from now on
        #[arg(long)]
        state: Given,
        /// Where the decision was made, for audit
        #[arg(long, default_value = "cli")]
        source: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scope {
    Marketing,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Given {
    Granted,
    Withdrawn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LaneName {
    Transactional,
    Bulk,
}

#[derive(Debug, Subcommand)]
pub enum Request {
    /// Produce send requests and print their keys
    Send(Box<SendArgs>),
}

#[derive(Debug, Args)]
pub struct SendArgs {
    /// Tenant that sends
    #[arg(long)]
    pub tenant: String,
    /// Recipient, +15551234567; with --count the first of consecutive numbers
    #[arg(long)]
    pub to: String,
    /// Template name
    #[arg(long)]
    pub template: String,
    /// Template language, for example en_US
    #[arg(long)]
    pub language: String,
    /// A variable of the template; positional ones are called 1, 2 and so on
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub variables: Vec<String>,
    /// Lane [default: bulk for a campaign, else transactional]
    #[arg(long)]
    pub lane: Option<LaneName>,
    /// Idempotency key; with --count it is followed by -1, -2 and so on [default: a new one]
    #[arg(long)]
    pub key: Option<String>,
    /// Campaign
    #[arg(long)]
    pub campaign: Option<String>,
    /// Not to be sent after: RFC 3339, or a span from now such as 30m or 2h
    #[arg(long, value_name = "TIME|SPAN")]
    pub deadline: Option<String>,
    /// Meta's id of the number to send from [default: the tenant's default]
    #[arg(long)]
    pub phone_number_id: Option<String>,
    /// Correlation id to find in the outcomes
    #[arg(long)]
    pub correlation_id: Option<String>,
    /// Order or case that the message is about; a cancel may name it
    #[arg(long)]
    pub order_id: Option<String>,
    /// How many requests
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub count: u32,
}

#[derive(Debug, Args)]
pub struct Tail {
    /// Topic, or the part of its name between `sendplane.` and `.v1`, such as outcomes
    pub topic: String,
    /// From the oldest record instead of only new ones
    #[arg(long)]
    pub from_beginning: bool,
    /// Stop at the end instead of waiting for more
    #[arg(long)]
    pub until_end: bool,
    /// Stop after so many records
    #[arg(long)]
    pub limit: Option<u64>,
    /// Only records with this tenant as their key
    #[arg(long)]
    pub tenant: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Message {
    /// Print what happened to a message: decisions, attempts, outcomes
    Show {
        /// Message id
        #[arg(required_unless_present = "key", conflicts_with = "key")]
        id: Option<String>,
        /// Idempotency key instead of the id
        #[arg(long, requires = "tenant")]
        key: Option<String>,
        /// The tenant; without it all partitions are read
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Print the HTTP request of an attempt as a curl command, the token left out
    Curl(CurlArgs),
}

#[derive(Debug, Args)]
pub struct CurlArgs {
    /// Message id
    pub id: String,
    /// The tenant; without it all partitions are read
    #[arg(long)]
    pub tenant: Option<String>,
    /// Number of the attempt [default: the newest]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub attempt: Option<u32>,
    /// Mask the recipient and the values of the parameters
    #[arg(long)]
    pub redact: bool,
    /// File with the deployment's hash key; without it biz_opaque_callback_data lacks its
    /// authentication code
    #[arg(long, value_name = "FILE")]
    pub hash_key_file: Option<PathBuf>,
    /// Where the calls go, as send.provider-url says
    #[arg(long, value_name = "URL", default_value = BASE_URL)]
    pub provider_url: String,
    /// Graph version, as send.api-version says
    #[arg(long, value_name = "VERSION", default_value = VERSION)]
    pub api_version: String,
}

#[derive(Debug, Subcommand)]
pub enum Outcomes {
    /// Count messages by their current state
    Summary {
        /// Only this tenant
        #[arg(long)]
        tenant: Option<String>,
        /// Only this campaign
        #[arg(long)]
        campaign: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum Dlq {
    /// Count dead letters by stage, code and tenant
    List(DlqList),
    /// Print one dead letter with all its headers, its value, and what to do about it
    Show {
        /// stage/partition/offset, as `dlq list --each` prints it
        id: String,
        /// The same as --output json
        #[arg(long)]
        json: bool,
    },
    /// Write dead letters to the topic they came from once more; no message is ever doubled by it
    Replay(DlqReplay),
}

#[derive(Debug, Default, Args)]
pub struct DlqFilter {
    /// Only of this stage
    #[arg(long)]
    pub stage: Option<String>,
    /// Only of this tenant: with it as record key
    #[arg(long)]
    pub tenant: Option<String>,
    /// Only dead-lettered at this time or later: RFC 3339, or a span back from now such as 2h
    #[arg(long, value_name = "TIME|SPAN")]
    pub since: Option<String>,
    /// Only dead-lettered before this time
    #[arg(long, value_name = "TIME|SPAN")]
    pub until: Option<String>,
    /// At most so many: rows or letters of `list`, the newest; letters of `replay`, the oldest
    #[arg(long)]
    pub limit: Option<usize>,
    /// The same as --output json
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct DlqList {
    #[command(flatten)]
    pub filter: DlqFilter,
    /// Only with this code, the stable name of a reason
    #[arg(long, visible_alias = "reason")]
    pub code: Option<String>,
    /// One line per dead letter instead of counts
    #[arg(long)]
    pub each: bool,
    /// Only what was not replayed yet
    #[arg(long)]
    pub pending: bool,
}

#[derive(Debug, Args)]
pub struct DlqReplay {
    /// Dead letters, stage/partition/offset; without any the filters choose
    pub ids: Vec<String>,
    #[command(flatten)]
    pub filter: DlqFilter,
    /// Only with this code, the stable name of a reason
    #[arg(long)]
    pub code: Option<String>,
    /// Why they are replayed; recorded with each
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Who replays them; recorded with each, with the name of this host
    #[arg(long, env = "USER", value_name = "NAME")]
    pub by: Option<String>,
    /// Print what would be done and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// At most so many in a second
    #[arg(long, value_name = "N", default_value = "100", value_parser = rate)]
    pub rate: u32,
    /// Also what was replayed before
    #[arg(long)]
    pub again: bool,
}

/// `100`, or `100/s`.
fn rate(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse().ok();
    number
        .filter(|rate| (1..=100_000).contains(rate))
        .ok_or_else(|| "give records per second, 1 to 100000".to_owned())
}

#[derive(Debug, Subcommand)]
pub enum State {
    /// Prove that the stores of a stopped instance equal their changelog
    Verify {
        /// The state directory, or one stage's directory in it
        dir: PathBuf,
        /// Stage whose stores DIR holds [default: by the directory's name]
        #[arg(long)]
        stage: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_message_is_named_by_id_or_by_tenant_and_key() {
        let parses = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
        assert!(parses("sendplane message show 0193"));
        assert!(parses("sendplane message show --tenant acme --key k"));
        assert!(!parses("sendplane message show --key k"));
        assert!(!parses("sendplane message show"));
    }

    #[test]
    fn a_replay_has_a_reason() {
        let parses = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
        assert!(parses("sendplane dlq replay send/0/1 send/0/2 --reason healed --rate 5/s"));
        assert!(parses("sendplane dlq replay --stage send --code c --reason healed --dry-run"));
        assert!(!parses("sendplane dlq replay send/0/1"));
        assert!(!parses("sendplane dlq replay send/0/1 --reason healed --rate 0"));
        assert!(parses("sendplane dlq list --reason unknown_tenant --each --since 2h --json"));
    }
}
