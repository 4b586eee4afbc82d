//! A well-behaved client of HTTP/2: hyper.

use std::future::Future;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{HeaderMap, Method, Request};
use smol::LocalExecutor;
use smol::net::TcpStream;
use smol_hyper::rt::FuturesIo;

/// Runs hyper's tasks where the test runs. Weak: the tasks hold it too, and a circle would leave
/// their connections open after the test.
#[derive(Clone)]
pub struct Tasks(Weak<LocalExecutor<'static>>);

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, task: F) {
        if let Some(executor) = self.0.upgrade() {
            executor.spawn(task).detach();
        }
    }
}

/// A test with such clients in it.
pub fn run<F: Future>(test: impl FnOnce(Tasks) -> F) -> F::Output {
    let executor = Rc::new(LocalExecutor::new());
    smol::block_on(executor.run(test(Tasks(Rc::downgrade(&executor)))))
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("ASCII"))
    }
}

/// One connection.
pub struct Client<B> {
    pub sender: SendRequest<B>,
    /// Ends with the connection.
    pub ended: smol::Task<hyper::Result<()>>,
}

impl<B> Client<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static,
{
    pub async fn connect(address: SocketAddr, tasks: &Tasks) -> Self {
        let stream = TcpStream::connect(address).await.expect("the server accepts");
        let handshake = handshake(tasks.clone(), FuturesIo::new(stream));
        let (sender, connection) = handshake.await.expect("a connection");
        let executor = tasks.0.upgrade().expect("the test runs");
        Self { sender, ended: executor.spawn(connection) }
    }

    /// Sends a request and waits for its answer.
    pub fn send(
        &self,
        request: Request<B>,
    ) -> impl Future<Output = hyper::Result<Answer>> + use<B> {
        let mut sender = self.sender.clone();
        async move {
            let (parts, body) = sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            let body = String::from_utf8(body.to_vec()).expect("UTF-8");
            Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
        }
    }
}

/// A request with a body of known length.
pub fn request(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Request<Full<Bytes>> {
    let method: Method = method.parse().expect("a method");
    let request = Request::builder().method(method).uri(format!("http://t{path}"));
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(Full::new(body.into())).expect("a request")
}

/// A record for the ring `default`.
pub fn record(payload: impl Into<Bytes>) -> Request<Full<Bytes>> {
    request("POST", "/v1/rings/default/records", &[], payload)
}
