//! The `tcp` probe: a connection, and what is said on it.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Asker, Reply};
use crate::spec::TcpProbe;
use crate::spec::address_url;

/// The most of an answer that is looked at: who says hello says it in the first lines.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// Asks. A host without an address is no data; a server that refuses, breaks off or says something else is a no.
pub(super) async fn ask(probe: &TcpProbe, asker: &Asker) -> Reply {
    let timeout = probe.asking.timeout.value;
    let asked = tokio::time::timeout(timeout.to_std(), exchange(probe, asker)).await;
    asked.unwrap_or_else(|_| Reply::No(format!("no answer in {timeout}")))
}

async fn exchange(probe: &TcpProbe, asker: &Asker) -> Reply {
    let address = match address_url(&probe.connect) {
        Ok(url) => asker.endpoints.resolve(&url).await,
        Err(why) => return Reply::Unknown(why),
    };
    let address = match address {
        Ok(address) => address,
        Err(error) => return Reply::Unknown(error.to_string()),
    };
    match talk(probe, address).await {
        Ok(reply) => reply,
        Err(error) => Reply::No(error.to_string()),
    }
}

async fn talk(probe: &TcpProbe, address: std::net::SocketAddr) -> std::io::Result<Reply> {
    let mut stream = TcpStream::connect(address).await?;
    if let Some(send) = &probe.send {
        stream.write_all(send.as_bytes()).await?;
    }
    let Some(wanted) = &probe.bytes else { return Ok(Reply::Yes("connected".into())) };
    let mut answer = Vec::new();
    while answer.len() < MAX_ANSWER_BYTES {
        if stream.read_buf(&mut answer).await? == 0 {
            break;
        }
        if memchr::memmem::find(&answer, wanted.as_bytes()).is_some() {
            return Ok(Reply::Yes(format!("answered \"{}\"", wanted.escape_debug())));
        }
    }
    let said = String::from_utf8_lossy(&answer[..answer.len().min(80)]).into_owned();
    Ok(Reply::No(format!("answered \"{}\", and no more", said.escape_debug())))
}
