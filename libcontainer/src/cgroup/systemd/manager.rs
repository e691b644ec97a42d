//! The few methods of `org.freedesktop.systemd1.Manager` that make, change and end a scope
//! (org.freedesktop.systemd1(5)).

use std::path::Path;

use super::{
    address::Owner,
    bus::{Bus, Refusal},
    properties::Property,
    unit::Unit,
    value::Value,
};
use crate::{
    error::{Error, Kind, Result},
    sys,
};

const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// A connection that knows the unit it is about.
#[derive(Debug)]
pub(super) struct Manager<'a> {
    bus: Bus,
    unit: &'a Unit,
}

impl<'a> Manager<'a> {
    pub(super) fn of(unit: &'a Unit) -> Result<Self> {
        let owner = if unit.user { Owner::User } else { Owner::System };
        Ok(Self { bus: Bus::connect(owner)?, unit })
    }

    /// Starts the unit, with `pid` in it if it is a scope, and waits until it runs.
    ///
    /// # Errors
    /// [`Kind::Exists`] when there is a running unit of this name.
    pub(super) fn start(&mut self, pid: Option<i32>, properties: &[Property]) -> Result<()> {
        let own = self.unit.properties(pid);
        let mut asked: Vec<&Property> = own.iter().chain(properties).collect();
        let mut reset = false;
        loop {
            let refusal = match self.call("start", "StartTransientUnit", &self.transient(&asked))? {
                Ok(job) => {
                    return self.done("start", &job).inspect_err(|_| {
                        end(pid);
                        // The failure that is told is the first.
                        let _ = self.stop();
                    });
                }
                Err(refusal) => refusal,
            };
            // One that failed stays known by its name until somebody has looked at it.
            if refusal.name == UNIT_EXISTS && !reset {
                reset = true;
                let _ = self.call("reset", "ResetFailedUnit", &[Value::string(&self.unit.name)])?;
                continue;
            }
            self.ask_for_less("start", &mut asked, &refusal)?;
        }
    }

    /// Leaves out what an older systemd does not know, if that is what it refused: the files of the
    /// cgroup say the same.
    fn ask_for_less(
        &self,
        verb: &str,
        asked: &mut Vec<&Property>,
        refusal: &Refusal,
    ) -> Result<()> {
        let before = asked.len();
        asked.retain(|property| !(property.dispensable && refusal.mentions(property)));
        if asked.len() == before { Err(self.refused(verb, refusal)) } else { Ok(()) }
    }

    fn transient(&self, properties: &[&Property]) -> Vec<Value> {
        let properties = properties.iter().map(|property| property.to_value()).collect();
        vec![
            Value::string(&self.unit.name),
            // A unit in the way is an error, not something to replace.
            Value::string("fail"),
            Value::Array("(sv)".into(), properties),
            Value::Array("(sa(sv))".into(), Vec::new()),
        ]
    }

    /// Ends the unit. One that is not there has ended already.
    pub(super) fn stop(&mut self) -> Result<()> {
        let arguments = [Value::string(&self.unit.name), Value::string("replace")];
        match self.call("stop", "StopUnit", &arguments)? {
            Ok(job) => self.done("stop", &job),
            Err(refusal) if refusal.name == NO_SUCH_UNIT => Ok(()),
            Err(refusal) => Err(self.refused("stop", &refusal)),
        }
    }

    /// Changes limits until the next boot.
    pub(super) fn set(&mut self, properties: &[Property]) -> Result<()> {
        let mut asked: Vec<&Property> = properties.iter().collect();
        while !asked.is_empty() {
            let values = asked.iter().map(|property| property.to_value()).collect();
            let arguments = [
                Value::string(&self.unit.name),
                Value::Boolean(true),
                Value::Array("(sv)".into(), values),
            ];
            let refusal = match self.call("change", "SetUnitProperties", &arguments)? {
                Ok(_) => return Ok(()),
                Err(refusal) => refusal,
            };
            self.ask_for_less("change", &mut asked, &refusal)?;
        }
        Ok(())
    }

    /// Moves a process of the caller's into the unit, or into the cgroup `below` it: for a user who
    /// may not do it, because it crosses what belongs to root.
    pub(super) fn attach(&mut self, below: &Path, pid: i32) -> Result<()> {
        let arguments = [
            Value::string(&self.unit.name),
            Value::string(subgroup(below)),
            Value::Array("u".into(), vec![Value::Uint32(pid.cast_unsigned())]),
        ];
        match self.call("move a process into", "AttachProcessesToUnit", &arguments)? {
            Ok(_) => Ok(()),
            Err(refusal) => Err(self.refused("move a process into", &refusal)),
        }
    }

    fn call(
        &mut self,
        verb: &str,
        member: &str,
        arguments: &[Value],
    ) -> Result<Result<String, Refusal>> {
        let answer = self.bus.call(member, arguments).map_err(|error| self.failed(verb, error))?;
        Ok(answer.map(|strings| strings.into_iter().next().unwrap_or_default()))
    }

    fn failed(&self, verb: &str, error: Error) -> Error {
        let what = format!("cannot {verb} unit {:?}", self.unit.name);
        Error::new(error.kind(), what).because(error)
    }

    fn done(&mut self, verb: &str, job: &str) -> Result<()> {
        match self.bus.job(job).map_err(|error| self.failed(verb, error))?.as_str() {
            "done" => Ok(()),
            result => {
                let name = &self.unit.name;
                Err(Error::new(
                    Kind::Os,
                    format!("cannot {verb} unit {name:?}: its job is {result}"),
                )
                .hint(format!("see `systemctl status {name}` and `journalctl -u {name}`")))
            }
        }
    }

    fn refused(&self, verb: &str, refusal: &Refusal) -> Error {
        let kind = match refusal.name.as_str() {
            UNIT_EXISTS => Kind::Exists,
            "org.freedesktop.DBus.Error.AccessDenied"
            | "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired" => Kind::Denied,
            _ => Kind::Os,
        };
        Error::new(kind, format!("cannot {verb} unit {:?}: {}", self.unit.name, refusal.text))
    }
}

/// systemd wants it to begin with a slash, or to be empty.
fn subgroup(below: &Path) -> String {
    let parts: Vec<_> = below.iter().map(|part| format!("/{}", part.display())).collect();
    parts.concat()
}

impl Refusal {
    /// systemd: "Cannot set property X, or unknown property."
    fn mentions(&self, property: &Property) -> bool {
        self.text.split(|c: char| !c.is_alphanumeric()).any(|word| word == property.name)
    }
}

/// Kills a container's process that is not to be. systemd would ask it to end and wait, and the
/// first process of a pid namespace does not hear.
pub(super) fn end(init: Option<i32>) {
    if let Some(init) = init {
        let _ = sys::signal::kill(init, libc::SIGKILL);
    }
}
