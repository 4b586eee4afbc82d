//! Who a connection is, for protocols that say so once: RESP and MQTT.

use std::sync::Arc;

use crate::middleware::credentials::{Check, Credential, Credentials, Presented, VERIFY_BYTES};
use crate::middleware::{Errand, Job, Outcome};
use crate::tls::Peer;

/// Whether a peer may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nobody is asked for credentials here.
    Open,
    /// The credentials are right.
    Granted,
    /// They are wrong.
    Denied,
    /// A worker finds out: [`State::Away`](super::State::Away), then ask again.
    Away,
    /// The workers have no time or no memory: they may be right.
    Busy,
}

/// What a connection has said of itself.
#[derive(Debug, Default)]
pub struct Login {
    /// Set once credentials were right.
    credential: Option<Arc<Credential>>,
    /// Whom its certificate names, if it has one.
    certificate: Option<Arc<Peer>>,
    /// For a worker.
    job: Option<Job>,
    /// What the worker finds.
    errand: Option<Errand>,
}

impl Login {
    /// Asks whether the peer has this name. After [`Access::Away`], the same is to be asked again.
    pub fn ask(
        &mut self,
        credentials: Option<&Arc<dyn Credentials>>,
        name: &[u8],
        secret: &[u8],
    ) -> Access {
        let Some(credentials) = credentials else { return Access::Open };
        if let Some(errand) = &self.errand {
            let Some(outcome) = errand.take() else { return Access::Away };
            self.errand = None;
            return match outcome {
                // By what is known now, which is perhaps not what the worker has asked.
                Outcome::Credential(Some(found)) => match credentials.renew(&found) {
                    Some(credential) => self.enter(credential),
                    None => Access::Denied,
                },
                Outcome::Credential(None) => Access::Denied,
                Outcome::Body(_) | Outcome::Undone(_) => Access::Busy,
            };
        }
        match credentials.check(&Presented::Basic { name, secret }) {
            Check::Granted(credential) => self.enter(credential),
            Check::Denied => Access::Denied,
            Check::Slow => {
                let credentials = Arc::clone(credentials);
                let (name, secret) = (name.to_vec(), secret.to_vec());
                let job = Job::new(VERIFY_BYTES, move || {
                    let presented = Presented::Basic { name: &name, secret: &secret };
                    Outcome::Credential(credentials.verify(&presented))
                });
                self.errand = Some(job.errand());
                self.job = Some(job);
                Access::Away
            }
        }
    }

    /// Learns whom its certificate names.
    pub fn introduce(&mut self, certificate: Arc<Peer>) {
        self.certificate = Some(certificate);
    }

    /// Lets the peer in whose certificate these credentials know, unless it is in. Returns whether
    /// it is.
    pub fn ask_certificate(&mut self, credentials: Option<&Arc<dyn Credentials>>) -> bool {
        if self.credential.is_none()
            && let (Some(credentials), Some(peer)) = (credentials, &self.certificate)
            && let Check::Granted(known) = credentials.check(&Presented::Certificate(peer))
        {
            self.credential = Some(known);
        }
        self.is_in(credentials)
    }

    /// Takes the credentials of its address, which were read again: a client let in by one that is
    /// gone is let in no longer, and for all others what their line says now counts.
    pub fn follow(&mut self, credentials: Option<&Arc<dyn Credentials>>) {
        if let (Some(credentials), Some(before)) = (credentials, &self.credential) {
            self.credential = credentials.renew(before);
        }
        self.ask_certificate(credentials);
    }

    fn enter(&mut self, credential: Arc<Credential>) -> Access {
        self.credential = Some(credential);
        Access::Granted
    }

    /// Takes the work of an [`Access::Away`], once.
    pub fn take_job(&mut self) -> Option<Job> {
        self.job.take()
    }

    /// Whether it has been let in, where these credentials are asked for.
    pub fn is_in(&self, credentials: Option<&Arc<dyn Credentials>>) -> bool {
        credentials.is_none() || self.credential.is_some()
    }

    /// Its name, if it has said who it is.
    pub fn name(&self) -> Option<&str> {
        self.credential.as_ref().map(|who| who.name.as_str())
    }

    /// Whether it may write to a ring, where these credentials are asked for.
    pub fn may_write(&self, credentials: Option<&Arc<dyn Credentials>>, ring: &str) -> bool {
        credentials.is_none() || self.credential.as_ref().is_some_and(|who| who.may_write(ring))
    }
}
