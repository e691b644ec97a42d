//! The names of the members that the parser's types have, asked of the types themselves.

use std::fmt;

use oci_spec::runtime as oci;
use serde::{
    de::{self, Deserialize, Deserializer, Visitor},
    forward_to_deserialize_any,
};

/// Names of members of all objects of config.json; several objects may have the same.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    macro_rules! of {
        ($($name:ident),* $(,)?) => { [$(names::<oci::$name>),*] };
    }
    let objects = of![
        Box,
        ExecCPUAffinity,
        Hook,
        Hooks,
        Linux,
        LinuxBlockIo,
        LinuxCapabilities,
        LinuxCpu,
        LinuxDevice,
        LinuxDeviceCgroup,
        LinuxHugepageLimit,
        LinuxIOPriority,
        LinuxIdMapping,
        LinuxIntelRdt,
        LinuxInterfacePriority,
        LinuxMemory,
        LinuxMemoryPolicy,
        LinuxNamespace,
        LinuxNetDevice,
        LinuxNetwork,
        LinuxPersonality,
        LinuxPids,
        LinuxRdma,
        LinuxResources,
        LinuxSeccomp,
        LinuxSeccompArg,
        LinuxSyscall,
        LinuxThrottleDevice,
        LinuxTimeOffset,
        LinuxWeightDevice,
        Mount,
        PosixRlimit,
        Process,
        Root,
        Scheduler,
        Spec,
        User,
    ];
    objects.into_iter().flat_map(|names| names().iter().copied())
}

/// The names that `T` gives its deserializer.
fn names<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    match T::deserialize(Ask) {
        Err(Names(names)) => names,
        Ok(_) => &[],
    }
}

/// Has no value for anybody: it only listens to what a struct asks for.
struct Ask;

/// The answer, on the way of an error, which is the shortest.
#[derive(Debug)]
struct Names(&'static [&'static str]);

impl<'de> Deserializer<'de> for Ask {
    type Error = Names;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Names> {
        Err(Names(&[]))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Names> {
        Err(Names(names))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl de::Error for Names {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }
}

impl std::error::Error for Names {}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a question, not a value")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_tell_their_names() {
        assert_eq!(names::<oci::Root>(), ["path", "readonly"]);
        assert!(all().any(|name| name == "hcaHandles"));
    }
}
