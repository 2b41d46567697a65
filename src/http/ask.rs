//! A request, taken apart: whose it is, what its path and query name, its body.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde::Serialize;
use tokio::time::timeout;

use super::auth::{self, Owner};
use super::{Shared, fault};
use crate::api::{self, Api, ApiError};
use crate::{Result, Store, Tenant, TenantId};

/// Bytes of a body that names things, at most: tags and filters have limits far below.
pub(super) const SMALL: usize = 1 << 20;
/// Bytes of a body that carries logs, at most: a batch of the largest size, each byte of it written as `\u00NN`.
pub(super) const LARGE: usize = 6 * crate::MAX_BATCH + SMALL;
/// How long a body may stand still.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request.
pub(super) struct Ask {
    pub(super) shared: Shared,
    pub(super) parts: Parts,
    path: Vec<(String, String)>,
    query: Vec<(String, String)>,
    body: Body,
}

/// The tenants that a session may be of.
pub(super) enum Candidates {
    /// Any there is.
    All,
    /// These.
    Of(Vec<TenantId>),
}

impl FromRequest<Shared> for Ask {
    type Rejection = Infallible;

    async fn from_request(request: Request, shared: &Shared) -> Result<Ask, Infallible> {
        let (mut parts, body) = request.into_parts();
        // What does not decode names nothing; that it is so is found when its turn comes.
        let path =
            Path::from_request_parts(&mut parts, shared).await.map_or_else(|_| Vec::new(), |Path(path)| path);
        let query = Query::try_from_uri(&parts.uri).map_or_else(|_| Vec::new(), |Query(query)| query);
        Ok(Ask { shared: Shared::clone(shared), parts, path, query, body })
    }
}

impl Ask {
    /// A part of the path; of one that does not decode, nothing.
    pub(super) fn path(&self, name: &str) -> String {
        value(&self.path, name).unwrap_or_default().to_owned()
    }

    /// A parameter of the query, where it is there and not empty.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        value(&self.query, name).filter(|value| !value.is_empty())
    }

    /// A whole number of the query.
    pub(super) fn number(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<u64>,
        default: u64,
    ) -> Result<u64, ApiError> {
        let Some(text) = self.query(name) else { return Ok(default) };
        text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            ApiError::invalid_field(Api::Tail, name, format!("must be {least} to {most}, not {text:?}"))
        })
    }

    /// The project of a request to the log-stream API, which its token owns.
    pub(super) fn project(&self) -> Result<Tenant, ApiError> {
        let owner = self.shared.auth.owner(auth::x_auth_token(&self.parts.headers));
        let owner = owner.ok_or_else(|| ApiError::unauthorized(Api::Logs))?;
        match TenantId::new(self.path("project_id")) {
            Ok(project) if owner.owns(&project) => Ok(self.shared.store.tenant(&project)),
            _ => Err(ApiError::forbidden(Api::Logs)),
        }
    }

    /// Who asks the tail API.
    pub(super) fn bearer(&self) -> Result<Owner<'_>, ApiError> {
        let owner = self.shared.auth.owner(auth::bearer_token(&self.parts.headers));
        owner.ok_or_else(|| ApiError::unauthorized(Api::Tail))
    }

    /// A tenant of the tail API, which the token owns.
    pub(super) fn owned(&self, tenant: &TenantId) -> Result<Tenant, ApiError> {
        match self.bearer()?.owns(tenant) {
            true => Ok(self.shared.store.tenant(tenant)),
            false => Err(ApiError::forbidden(Api::Tail)),
        }
    }

    /// The tenants that a session named by its id may be of: the one that `tenantId` says, or all that the token owns.
    pub(super) fn candidates(&self) -> Result<Candidates, ApiError> {
        let owner = self.bearer()?;
        Ok(match (self.query("tenantId"), owner) {
            (Some(named), _) => {
                let tenant = api::tenant_id(named)?;
                self.owned(&tenant)?;
                Candidates::Of(vec![tenant])
            }
            (None, Owner::Of(tenants)) => Candidates::Of(tenants.to_vec()),
            (None, Owner::Anybody) => Candidates::All,
        })
    }

    /// The body, of at most `limit` bytes; there is none a second time.
    pub(super) async fn body(&mut self, api: Api, limit: usize) -> Result<Bytes, ApiError> {
        let said = self
            .parts
            .headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let mut chunks = std::mem::take(&mut self.body).into_data_stream();
        let mut body = Vec::with_capacity(said.unwrap_or(0).min(limit));
        let mut length = 0;
        while let Some(chunk) = timeout(PATIENCE, chunks.next()).await.map_err(|_| fault::too_slow(api))? {
            let chunk = chunk.map_err(|err| ApiError::not_json(api, format!("it broke off: {err}")))?;
            length += chunk.len();
            if length <= limit {
                body.extend_from_slice(&chunk);
            } else if LARGE < length {
                break;
            }
            // What is over the limit is read and dropped: who still writes would not read an answer.
        }
        if limit < length {
            return Err(fault::too_large(api, limit));
        }
        Ok(body.into())
    }
}

impl Candidates {
    /// The tenants in `store`.
    pub(super) fn tenants(self, store: &Store) -> Result<Vec<Tenant>> {
        let ids = match self {
            Candidates::All => store.tenants()?,
            Candidates::Of(ids) => ids,
        };
        Ok(ids.iter().map(|id| store.tenant(id)).collect())
    }
}

fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// An answer with a body.
pub(super) fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    let body = serde_json::to_vec(body).expect("our own types serialise");
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
