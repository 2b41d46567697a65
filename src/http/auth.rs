//! Who may do what: tokens, and the tenants that each of them owns.

use std::fmt;
use std::net::SocketAddr;

use axum::http::{HeaderMap, header};
use constant_time_eq::constant_time_eq;

use crate::{Error, Result, TenantId};

/// The header of the log-stream API that carries the token.
const X_AUTH_TOKEN: &str = "x-auth-token";
/// Characters of a token, at most: header lines have to end somewhere.
const MAX_TOKEN: usize = 8192;

/// Who may use the API: whoever has a token, for the tenants it owns, or anybody for every tenant.
///
/// ```
/// use tailwater::http::Auth;
///
/// let auth = Auth::tokens("s3cr3t-of-web web\ns3cr3t-of-operators web,api,batch\n")?;
/// assert!(!auth.is_open() && Auth::open().is_open());
/// # Ok::<(), tailwater::Error>(())
/// ```
#[derive(Clone)]
pub struct Auth(Option<Vec<Token>>);

#[derive(Clone)]
struct Token {
    text: Box<[u8]>,
    tenants: Vec<TenantId>,
}

/// Which tenants are whoever asks' own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner<'a> {
    /// Every tenant.
    Anybody,
    /// These.
    Of(&'a [TenantId]),
}

impl Auth {
    /// Every tenant belongs to anybody, with or without a token. The [server](super::serve) then listens on loopback addresses only; a
    /// host that mounts the [router](super::router()) answers for whom it lets through.
    pub fn open() -> Auth {
        Auth(None)
    }

    /// Reads a file of tokens: `token tenant[,tenant..]` a line. Empty lines, and those that begin with `#`, say nothing. A token is
    /// any run of visible ASCII characters; of a token that stands there twice, the tenants add up.
    ///
    /// # Errors
    /// `Invalid { field: "tokens" }`, naming the line and never the token; where there is no token at all, too: a file that was emptied
    /// by mistake opens no door.
    pub fn tokens(text: &str) -> Result<Auth> {
        let mut tokens: Vec<Token> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let wrong = |rule: String| Error::invalid("tokens", format!("line {}: {rule}", index + 1));
            let mut words = line.split_whitespace();
            let token = match words.next() {
                Some(token) if !token.starts_with('#') => token,
                _ => continue,
            };
            let (Some(names), None) = (words.next(), words.next()) else {
                return Err(wrong("must be a token, a space, and tenants with commas between them".into()));
            };
            if MAX_TOKEN < token.len() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(wrong(format!("a token is 1 to {MAX_TOKEN} visible ASCII characters")));
            }
            let tenants: Result<Vec<TenantId>> = names.split(',').map(TenantId::new).collect();
            let tenants = tenants.map_err(|err| wrong(err.to_string()))?;
            match tokens.iter_mut().find(|other| *other.text == *token.as_bytes()) {
                Some(known) => known.tenants.extend(tenants),
                None => tokens.push(Token { text: token.as_bytes().into(), tenants }),
            }
        }
        if tokens.is_empty() {
            return Err(Error::invalid("tokens", "there is not one"));
        }
        Ok(Auth(Some(tokens)))
    }

    /// Whether every tenant belongs to anybody.
    pub fn is_open(&self) -> bool {
        self.0.is_none()
    }

    /// Checks that a server with this rule may listen on `address`: any where there are tokens, else one that only this machine
    /// reaches.
    ///
    /// # Errors
    /// `Invalid { field: "listen" }`.
    pub fn may_listen_on(&self, address: SocketAddr) -> Result<()> {
        match self.is_open() && !address.ip().to_canonical().is_loopback() {
            false => Ok(()),
            true => Err(Error::invalid(
                "listen",
                format!(
                    "{address} can be reached from other machines, and without tokens anybody there may do anything"
                ),
            )),
        }
    }

    /// The tenants that `token` owns; `None` where nobody has that token. Looks at every token there is, so that the time it takes
    /// tells neither which one matched nor how much of one did. Only its length can be learned.
    pub(super) fn owner(&self, token: Option<&[u8]>) -> Option<Owner<'_>> {
        let Some(tokens) = &self.0 else { return Some(Owner::Anybody) };
        let given = token?;
        let mut found = None;
        for Token { text, tenants } in tokens {
            if constant_time_eq(text, given) {
                found = Some(Owner::Of(tenants));
            }
        }
        found
    }
}

/// Tokens are not printed.
impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("Auth(open)"),
            Some(tokens) => write!(f, "Auth({} tokens)", tokens.len()),
        }
    }
}

impl Owner<'_> {
    /// Whether `tenant` is one of them.
    pub(super) fn owns(&self, tenant: &TenantId) -> bool {
        match self {
            Owner::Anybody => true,
            Owner::Of(tenants) => tenants.contains(tenant),
        }
    }
}

/// The token of a request to the log-stream API.
pub(super) fn x_auth_token(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get(X_AUTH_TOKEN).map(|value| value.as_bytes())
}

/// The token of a request to the tail API: `Authorization: Bearer TOKEN`, the scheme in any case.
pub(super) fn bearer_token(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(auth: &Auth, token: Option<&str>) -> Option<Vec<String>> {
        match auth.owner(token.map(str::as_bytes))? {
            Owner::Anybody => Some(vec!["*".into()]),
            Owner::Of(tenants) => Some(tenants.iter().map(|tenant| tenant.to_string()).collect()),
        }
    }

    #[test]
    fn a_token_owns_the_tenants_of_its_lines() {
        let auth = Auth::tokens("# who\n\na one\n  b\tone,two  \nb three\n").unwrap();
        let check = |token: Option<&str>, expected: Option<&[&str]>| {
            let expected =
                expected.map(|names| names.iter().map(|name| name.to_string()).collect::<Vec<_>>());
            assert_eq!(owned(&auth, token), expected, "{token:?}");
        };
        check(Some("a"), Some(&["one"]));
        check(Some("b"), Some(&["one", "two", "three"]));
        check(Some("c"), None);
        check(Some(""), None);
        check(Some("#"), None);
        check(None, None);
        assert_eq!(owned(&Auth::open(), None), Some(vec!["*".into()]));
        assert_eq!(owned(&Auth::open(), Some("x")), Some(vec!["*".into()]));
    }

    #[test]
    fn a_file_that_does_not_read_names_its_line_and_never_its_token() {
        for (text, named) in [
            ("", "not one"),
            ("# nothing\n", "not one"),
            ("ok one\nsecret", "line 2"),
            ("secret one two", "line 1"),
            ("secret one, two", "line 1"),
            ("secret on/e", "line 1"),
            ("secret one,", "line 1"),
            ("secret-\u{e9} one", "line 1"),
        ] {
            let said = Auth::tokens(text).unwrap_err().to_string();
            assert!(said.contains(named) && !said.contains("secret"), "{text:?}: {said}");
        }
    }

    #[test]
    fn without_tokens_only_loopback_may_be_listened_on() {
        let with = Auth::tokens("t one").unwrap();
        for (address, local) in [
            ("127.0.0.1:80", true),
            ("127.9.9.9:80", true),
            ("[::1]:80", true),
            ("[::ffff:127.0.0.1]:80", true),
            ("0.0.0.0:80", false),
            ("[::]:80", false),
            ("192.0.2.1:80", false),
            ("[::ffff:192.0.2.1]:80", false),
        ] {
            let address: SocketAddr = address.parse().unwrap();
            assert!(with.may_listen_on(address).is_ok());
            assert_eq!(Auth::open().may_listen_on(address).is_ok(), local, "{address}");
        }
    }

    #[test]
    fn a_bearer_token_is_what_follows_its_scheme() {
        for (value, expected) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Bearer", None),
            ("Basic abc", None),
            ("abc", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            assert_eq!(bearer_token(&headers), expected.map(str::as_bytes), "{value}");
        }
    }
}
