//! Servers of every protocol that loads speak, on sockets and certificates of their own.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{HandshakeKind, RootCertStore, ServerConfig};

/// An authority with a server's and a client's certificate, as files.
pub struct Certificates {
    dir: tempfile::TempDir,
    chain: Vec<tokio_rustls::rustls::pki_types::CertificateDer<'static>>,
    key: Vec<u8>,
    authority: tokio_rustls::rustls::pki_types::CertificateDer<'static>,
}

impl Certificates {
    /// For the host `shop.test`.
    pub fn new() -> Self {
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = params.self_signed(&authority_key).unwrap();
        let issuer = rcgen::Issuer::new(params, authority_key);
        let signed = |name: &str| {
            let key = rcgen::KeyPair::generate().unwrap();
            let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            (params.signed_by(&key, &issuer).unwrap(), key)
        };
        let (server, server_key) = signed("shop.test");
        let (client, client_key) = signed("client.test");
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("ca.pem", authority.pem()),
            ("client.pem", client.pem()),
            ("client.key", client_key.serialize_pem()),
        ] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        Self {
            dir,
            chain: vec![server.der().clone()],
            key: server_key.serialize_der(),
            authority: authority.der().clone(),
        }
    }

    /// The path of `ca.pem`, `client.pem` or `client.key`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn config(&self, alpn: &[u8], asks_clients: bool) -> ServerConfig {
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if asks_clients {
            let mut roots = RootCertStore::empty();
            roots.add(self.authority.clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let key = tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer::from(self.key.clone());
        let mut config = builder.with_single_cert(self.chain.clone(), key.into()).unwrap();
        config.alpn_protocols = vec![alpn.to_vec()];
        config
    }
}

/// What a server counts.
#[derive(Debug, Default)]
pub struct Counts {
    pub connections: AtomicUsize,
    pub resumed: AtomicUsize,
    pub requests: AtomicUsize,
    /// Requests being answered, now and at most.
    pub at_once: AtomicUsize,
    pub most_at_once: AtomicUsize,
    /// Bytes of request bodies.
    pub body_bytes: AtomicUsize,
    /// Hosts that were asked for.
    pub hosts: Mutex<Vec<String>>,
}

impl Counts {
    pub fn get(count: &AtomicUsize) -> usize {
        count.load(Ordering::Relaxed)
    }
}

/// How a server behaves.
#[derive(Clone)]
pub struct Nature {
    /// HTTP/2, else HTTP/1.1.
    pub h2: bool,
    /// The most streams that it takes at once.
    pub streams: u32,
    /// How long an answer takes.
    pub delay_ms: u64,
    /// Bytes of an answer's body.
    pub body_bytes: usize,
}

impl Default for Nature {
    fn default() -> Self {
        Self { h2: false, streams: 200, delay_ms: 0, body_bytes: 5 }
    }
}

/// A running server; dropping it ends it.
pub struct Served {
    pub address: SocketAddr,
    pub counts: Arc<Counts>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A plain server on `127.0.0.1` or, where `local` says so, elsewhere.
pub async fn plain(nature: Nature, local: &str) -> Served {
    let listener = TcpListener::bind(local).await.unwrap();
    let (address, counts) = (listener.local_addr().unwrap(), Arc::new(Counts::default()));
    let shared = counts.clone();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            tokio::spawn(serve(stream, nature.clone(), shared.clone()));
        }
    });
    Served { address, counts, task }
}

/// A server that speaks TLS.
pub async fn tls(nature: Nature, certificates: &Certificates, asks_clients: bool) -> Served {
    let alpn: &[u8] = if nature.h2 { b"h2" } else { b"http/1.1" };
    let acceptor = TlsAcceptor::from(Arc::new(certificates.config(alpn, asks_clients)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, counts) = (listener.local_addr().unwrap(), Arc::new(Counts::default()));
    let shared = counts.clone();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, nature, counts) = (acceptor.clone(), nature.clone(), shared.clone());
            tokio::spawn(async move {
                // A client that does not trust us is its own business.
                let Ok(stream) = acceptor.accept(stream).await else { return };
                if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
                    counts.resumed.fetch_add(1, Ordering::Relaxed);
                }
                serve(stream, nature, counts).await;
            });
        }
    });
    Served { address, counts, task }
}

/// A plain server on a unix socket.
pub fn unix(nature: Nature, path: &Path) -> Served {
    let listener = UnixListener::bind(path).unwrap();
    let counts = Arc::new(Counts::default());
    let shared = counts.clone();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, nature.clone(), shared.clone()));
        }
    });
    Served { address: SocketAddr::from(([127, 0, 0, 1], 1)), counts, task }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    nature: Nature,
    counts: Arc<Counts>,
) {
    counts.connections.fetch_add(1, Ordering::Relaxed);
    let (h2, streams) = (nature.h2, nature.streams);
    let service = service_fn(move |request| answer(request, nature.clone(), counts.clone()));
    // Clients that go away end it with an error, which is theirs.
    if h2 {
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = builder.max_concurrent_streams(streams).serve_connection(TokioIo::new(stream), service).await;
    } else {
        let _ =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }
}

/// Answers alike, except that `/moved/…` is a redirect to `/…`.
async fn answer(
    request: hyper::Request<Incoming>,
    nature: Nature,
    counts: Arc<Counts>,
) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    let at_once = counts.at_once.fetch_add(1, Ordering::Relaxed) + 1;
    counts.most_at_once.fetch_max(at_once, Ordering::Relaxed);
    let host = request.uri().authority().map(ToString::to_string);
    let host = host.or_else(|| Some(request.headers().get("host")?.to_str().ok()?.to_owned()));
    {
        let mut hosts = counts.hosts.lock().unwrap();
        let host = host.unwrap_or_default();
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    let moved = request.uri().path().strip_prefix("/moved").map(|to| to.to_owned());
    if let Ok(body) = request.into_body().collect().await {
        counts.body_bytes.fetch_add(body.to_bytes().len(), Ordering::Relaxed);
    }
    if nature.delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(nature.delay_ms)).await;
    }
    counts.requests.fetch_add(1, Ordering::Relaxed);
    counts.at_once.fetch_sub(1, Ordering::Relaxed);
    if let Some(to) = moved {
        return Ok(hyper::Response::builder()
            .status(307)
            .header("location", to)
            .body(Full::default())
            .unwrap());
    }
    Ok(hyper::Response::new(Full::new(vec![b'x'; nature.body_bytes].into())))
}

/// A server that says back what it is told.
pub async fn echo() -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, counts) = (listener.local_addr().unwrap(), Arc::new(Counts::default()));
    let shared = counts.clone();
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counts = shared.clone();
            counts.connections.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let mut buffer = [0; 1_024];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    counts.requests.fetch_add(1, Ordering::Relaxed);
                    if stream.write_all(&buffer[..read]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Served { address, counts, task }
}

/// What a hostile server does on a connection once a client has said something.
#[derive(Clone, Debug)]
pub enum Hostile {
    /// Writes this, then keeps quiet.
    Says(Vec<u8>),
    /// Writes this, then closes.
    SaysAndCloses(Vec<u8>),
    /// Writes the first, then the second for ever.
    Repeats(Vec<u8>, Vec<u8>),
    /// Resets.
    Resets,
}

pub async fn hostile(manner: Hostile) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, counts) = (listener.local_addr().unwrap(), Arc::new(Counts::default()));
    let shared = counts.clone();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            shared.connections.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(mistreat(stream, manner.clone()));
        }
    });
    Served { address, counts, task }
}

/// Its errors are the client's to see.
async fn mistreat(mut stream: TcpStream, manner: Hostile) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    let mut read = 0;
    // Past an HTTP/2 preface with its settings, a request is there, too.
    while read < 100 {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            more => read += more,
        }
    }
    match manner {
        Hostile::Says(bytes) => stream.write_all(&bytes).await?,
        Hostile::SaysAndCloses(bytes) => {
            stream.write_all(&bytes).await?;
            return stream.shutdown().await;
        }
        Hostile::Repeats(first, bytes) => {
            stream.write_all(&first).await?;
            loop {
                stream.write_all(&bytes).await?;
            }
        }
        Hostile::Resets => {
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
            return Ok(());
        }
    }
    // Until the client goes.
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}
