use std::path::PathBuf;

use clap::Args;
use libcontainer::{Result, container::Container};

use crate::{cli::Verb, globals::Globals, log, resources::Limits};

#[derive(Args, Debug)]
pub(crate) struct Update {
    /// path to the file containing the resources to update or '-' to read from the standard input
    ///
    /// The accepted format is linux.resources of config.json; values that are left out stay.
    /// All other options are ignored then.
    #[arg(short, long)]
    resources: Option<PathBuf>,
    #[command(flatten)]
    limits: Limits,
    /// (obsoleted; do not use)
    #[arg(long, hide = true)]
    kernel_memory: Option<String>,
    /// (obsoleted; do not use)
    #[arg(long, hide = true)]
    kernel_memory_tcp: Option<String>,
    /// The string of Intel RDT/CAT L3 cache schema
    #[arg(long)]
    l3_cache_schema: Option<String>,
    /// The string of Intel RDT/MBA memory bandwidth schema
    #[arg(long)]
    mem_bw_schema: Option<String>,
    id: String,
}

impl Verb for Update {
    const NAME: &'static str = "update";
    const ABOUT: &'static str = "update container resource constraints";
    const USAGE: &'static str = "<container-id>";

    fn run(self, globals: &Globals) -> Result<u8> {
        let mut container = Container::load(&globals.root, &self.id)?;
        for (flag, value) in
            [("kernel-memory", &self.kernel_memory), ("kernel-memory-tcp", &self.kernel_memory_tcp)]
        {
            if value.is_some() {
                log::warning(&format!("Setting --{flag} is ignored and will be removed"));
            }
        }
        let resources = match &self.resources {
            Some(path) => Limits::read(path)?,
            None => self.limits.resources()?,
        };
        let schemata: Vec<_> = [&self.l3_cache_schema, &self.mem_bw_schema]
            .into_iter()
            .filter_map(|schema| schema.as_deref().filter(|schema| !schema.is_empty()))
            .collect();
        // All or nothing, so that a refusal leaves the cgroup's limits, too.
        if !schemata.is_empty() {
            container.update_schemata(&schemata)?;
        }
        let warnings = container.update(&resources)?;
        warnings.iter().for_each(|warning| log::warning(warning));
        Ok(0)
    }
}
