//! The TLS of one snapshot: what each listener shows, and what each service asks of its backends.
//!
//! Files are read at the start, at a reload and at a renewal, and never for what discovery finds: its
//! snapshots share the TLS of the one before. What is the same as before is taken over, so that
//! sessions and kept connections live on.

use std::path::PathBuf;
use std::sync::Arc;

use lb_config::config::{Config, Listener, Service};

use crate::snapshot::StartError;
use crate::tls::{ClientTls, Files, Loaded, Problem, Renewed, ServerTls};

/// The TLS of one snapshot.
#[derive(Default)]
pub(crate) struct Secured {
    /// By listener.
    listeners: Box<[Option<Arc<ServerTls>>]>,
    /// By service, where one of its backends is spoken to over TLS, or may be one day.
    services: Box<[Option<Arc<ClientTls>>]>,
    /// What will probably disappoint somebody, said when it was loaded.
    warnings: Vec<String>,
}

impl Secured {
    /// Reads what `config` names, in place of what is in `before`.
    pub(crate) fn new(
        config: &Config,
        files: Files<'_>,
        before: Option<(&Config, &Self)>,
    ) -> Result<Self, StartError> {
        let mut loading = Loading { files, before, problems: Vec::new(), warnings: Vec::new() };
        let listeners = config.listeners.iter().map(|said| loading.listener(said)).collect();
        let services = config.services.iter().map(|said| loading.service(said)).collect();
        let Loading { problems, warnings, .. } = loading;
        match problems.is_empty() {
            true => Ok(Self { listeners, services, warnings }),
            false => Err(StartError::Tls(problems)),
        }
    }

    /// The same of `config` with what its files say now, and what is wrong with them: that stays as it
    /// was.
    pub(crate) fn renewed(&self, config: &Config, files: &Files<'_>) -> (Self, Vec<String>) {
        let (mut warnings, mut problems) = (Vec::new(), Vec::new());
        let mut told = |whose: &str, warned: Vec<Problem>, wrong: Vec<Problem>| {
            warnings.extend(said(whose, warned));
            problems.extend(said(whose, wrong));
        };
        let mut listeners = self.listeners.clone();
        for (known, config) in listeners.iter_mut().zip(&config.listeners) {
            if let Some(known) = known {
                let Renewed { value, warnings, problems } = known.renewed(files);
                *known = value;
                told(&listener(config), warnings, problems);
            }
        }
        let mut services = self.services.clone();
        for (known, config) in services.iter_mut().zip(&config.services) {
            if let Some(known) = known {
                let Renewed { value, warnings, problems } = known.renewed(files);
                *known = value;
                told(&service(config), warnings, problems);
            }
        }
        (Self { listeners, services, warnings }, problems)
    }

    /// Whether nothing changed from one to the other.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        fn same<T>(one: &[Option<Arc<T>>], other: &[Option<Arc<T>>]) -> bool {
            let at = |it: &Option<Arc<T>>| it.as_ref().map(Arc::as_ptr);
            one.iter().map(at).eq(other.iter().map(at))
        }
        same(&self.listeners, &other.listeners) && same(&self.services, &other.services)
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

    /// All files that are read for `config`.
    pub(crate) fn files(config: &Config) -> impl Iterator<Item = &PathBuf> {
        let listeners = config.listeners.iter().filter_map(|said| said.tls.as_ref());
        let services = config.services.iter().filter(|said| may_speak_tls(said));
        let listeners = listeners.flat_map(ServerTls::files);
        listeners.chain(services.flat_map(|said| ClientTls::files(&said.tls)))
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
            Some(known) => known.reloaded(asked, &self.files),
            None => ServerTls::load(asked, &self.files).map(|made| made.map(Arc::new)),
        };
        self.take(&listener(said), loaded)
    }

    fn service(&mut self, said: &Service) -> Option<Arc<ClientTls>> {
        may_speak_tls(said).then_some(())?;
        let known = self.before.and_then(|(config, secured)| {
            let mut services = config.services.iter();
            let at = services.position(|service| service.core.name == said.core.name)?;
            secured.service(at)
        });
        let loaded = match known {
            Some(known) => known.reloaded(&said.tls, said.protocol, &self.files),
            None => ClientTls::load(&said.tls, said.protocol, &self.files)
                .map(|made| made.map(Arc::new)),
        };
        self.take(&service(said), loaded)
    }

    fn take<T>(&mut self, whose: &str, loaded: Result<Loaded<T>, Vec<Problem>>) -> Option<T> {
        match loaded {
            Ok(Loaded { value, warnings }) => {
                self.warnings.extend(said(whose, warnings));
                Some(value)
            }
            Err(problems) => {
                self.problems.extend(said(whose, problems));
                None
            }
        }
    }
}

/// Whether a backend is spoken to over TLS, or one that is found may be.
fn may_speak_tls(said: &Service) -> bool {
    said.origins.iter().any(|origin| origin.tls) || !said.discovery.is_empty()
}

fn listener(said: &Listener) -> String {
    format!("listener {}", said.bind)
}

fn service(said: &Service) -> String {
    format!("service {:?}", said.core.name)
}

fn said(whose: &str, problems: Vec<Problem>) -> impl Iterator<Item = String> {
    problems.into_iter().map(move |problem| format!("{whose}: {problem}"))
}
