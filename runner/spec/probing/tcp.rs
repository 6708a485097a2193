//! The `tcp` probe: a connection, and what is said on it.

use std::fmt;

use super::{Asking, Question};
use crate::error::Span;
use crate::record;
use crate::spec::decode::Located;

record! {
    /// A TCP server that must take a connection, and answer if it is expected to.
    pub struct TcpProbe ("tcp probe") {
        /// `HOST:PORT`; `SERVICE.lab:PORT` means the published port of a lab's service.
        pub connect: Located<String>,
        /// What is sent, as it is written.
        pub send: Option<Located<String>>,
        /// What must come back, anywhere in the first 64 KiB.
        pub bytes: Option<Located<String>>,
        ..pub asking: Asking
    }
}

impl Question for TcpProbe {
    fn asking(&self) -> &Asking {
        &self.asking
    }
    fn span(&self) -> Span {
        self.connect.span
    }
}

impl fmt::Display for TcpProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tcp {}", self.connect.value)?;
        if let Some(send) = &self.send {
            write!(f, " asked \"{}\"", send.value.escape_debug())?;
        }
        self.bytes.as_ref().map_or(Ok(()), |bytes| write!(f, " answers \"{}\"", bytes.value.escape_debug()))
    }
}
