//! The TLS of one snapshot: what each listener shows, and what each service asks of its backends.
//!
//! All files are read when a snapshot is made. What is the same as in the snapshot before it is taken
//! over, so that sessions and kept connections live on.

use std::path::PathBuf;
use std::sync::Arc;

use lb_config::config::{Config, Listener, Service};

use crate::platform::Platform;
use crate::snapshot::StartError;
use crate::tls::{ClientTls, Files, Loaded, Problem, ServerTls};

/// The TLS of one snapshot.
#[derive(Default)]
pub(crate) struct Secured {
    /// By listener.
    listeners: Box<[Option<Arc<ServerTls>>]>,
    /// By service, where one of its backends is spoken to over TLS.
    services: Box<[Option<Arc<ClientTls>>]>,
    /// What will probably disappoint somebody, said when it was loaded.
    warnings: Vec<String>,
}

impl Secured {
    /// Reads what `config` names, in place of what is in `before`.
    pub(crate) fn new(
        config: &Config,
        platform: &dyn Platform,
        before: Option<(&Config, &Self)>,
    ) -> Result<Self, StartError> {
        let files = Files { read: &|path| platform.read(path), now: platform.unix_time() };
        let mut loading = Loading { files, before, problems: Vec::new(), warnings: Vec::new() };
        let listeners = config.listeners.iter().map(|said| loading.listener(said)).collect();
        let services = config.services.iter().map(|said| loading.service(said)).collect();
        let Loading { problems, warnings, .. } = loading;
        match problems.is_empty() {
            true => Ok(Self { listeners, services, warnings }),
            false => Err(StartError::Tls(problems)),
        }
    }

    pub(crate) fn listener(&self, index: usize) -> Option<&Arc<ServerTls>> {
        self.listeners.get(index)?.as_ref()
    }

    pub(crate) fn service(&self, index: usize) -> Option<&Arc<ClientTls>> {
        self.services.get(index)?.as_ref()
    }

    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// All files.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let listeners = self.listeners.iter().flatten().flat_map(|tls| tls.paths());
        listeners.chain(self.services.iter().flatten().flat_map(|tls| tls.paths()))
    }
}

struct Loading<'l> {
    files: Files<'l>,
    before: Option<(&'l Config, &'l Secured)>,
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl Loading<'_> {
    fn listener(&mut self, said: &Listener) -> Option<Arc<ServerTls>> {
        let asked = said.tls.as_ref()?;
        let known = self.before.and_then(|(config, secured)| {
            let at = config.listeners.iter().position(|listener| listener.bind == said.bind)?;
            secured.listener(at)
        });
        let loaded = match known {
            Some(known) => known.renewed(asked, &self.files),
            None => ServerTls::load(asked, &self.files).map(|made| made.map(Arc::new)),
        };
        self.take(&format!("listener {}", said.bind), loaded)
    }

    fn service(&mut self, said: &Service) -> Option<Arc<ClientTls>> {
        said.origins.iter().any(|origin| origin.tls).then_some(())?;
        let known = self.before.and_then(|(config, secured)| {
            let mut services = config.services.iter();
            let at = services.position(|service| service.core.name == said.core.name)?;
            secured.service(at)
        });
        let loaded = match known {
            Some(known) => known.renewed(&said.tls, said.protocol, &self.files),
            None => ClientTls::load(&said.tls, said.protocol, &self.files)
                .map(|made| made.map(Arc::new)),
        };
        self.take(&format!("service {:?}", said.core.name), loaded)
    }

    fn take<T>(&mut self, whose: &str, loaded: Result<Loaded<T>, Vec<Problem>>) -> Option<T> {
        let said = |problem: Problem| format!("{whose}: {problem}");
        match loaded {
            Ok(Loaded { value, warnings }) => {
                self.warnings.extend(warnings.into_iter().map(said));
                Some(value)
            }
            Err(problems) => {
                self.problems.extend(problems.into_iter().map(said));
                None
            }
        }
    }
}
