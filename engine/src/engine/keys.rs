//! The secrets of this process: from the secret file, or random; and what a reload may do to them.

#![forbid(unsafe_code)]

use usher_proto::cookie::{IsnKey, Keys, Secret};
use zeroize::Zeroizing;

use crate::config::{HandshakePlan, Secrets};
use crate::guarded::scrub_stack;
use crate::port::PortError;
use crate::worker::{Keyring, Seeds};

/// The keys of this process: from the secret file, else random.
pub(super) fn keyring(plan: &HandshakePlan) -> Result<Keyring, PortError> {
    let keyring = match &plan.secret {
        None => {
            let mut bytes = Zeroizing::new([0; 32]);
            getrandom::fill(&mut *bytes)?;
            let secret = Secret::from_bytes(*bytes);
            Keyring::new(Keys::new(&secret), false, IsnKey::new(&secret))
        }
        Some(file) => {
            let Secrets { current, next } = &*file.secrets;
            let mut cookies = Keys::new(current);
            if let Some((epoch, next)) = next {
                // a file stays as it is after its second secret has come into force, and means the same
                cookies.rotate(next, *epoch, epoch.wrapping_sub(1))?;
            }
            Keyring::new(cookies, true, IsnKey::new(current))
        }
    };
    scrub_stack();
    Ok(keyring)
}

/// What one worker's hashes are keyed with.
pub(super) fn random_seeds() -> Result<Seeds, PortError> {
    let mut bytes = [[0; 32]; 5];
    getrandom::fill(bytes.as_flattened_mut())?;
    Ok(Seeds::from_bytes(bytes))
}

/// The keys after a reload in `epoch`. An epoch has one secret, so the one in force stays, or has been followed by
/// the one that was announced; another may be announced for the future.
pub(super) fn follow(
    keyring: &Keyring,
    running: &HandshakePlan,
    next: &HandshakePlan,
    epoch: u32,
) -> Result<Keyring, String> {
    let (Some(running), Some(next)) = (&running.secret, &next.secret) else {
        return Ok(keyring.clone());
    };
    let mut keyring = keyring.clone();
    let announced = announced(&running.secrets, &next.secrets, epoch)?;
    if let Some((from, secret)) = announced {
        let rotated = keyring.cookies.rotate(secret, *from, epoch);
        rotated.map_err(|cause| format!("`handshake.secret_file`: {cause}"))?;
    }
    Ok(keyring)
}

/// What `next` announces that `running` did not.
fn announced<'a>(
    running: &Secrets,
    next: &'a Secrets,
    epoch: u32,
) -> Result<Option<&'a (u32, Secret)>, String> {
    let holds = running.next.as_ref().filter(|(from, _)| *from <= epoch);
    let same = running == next;
    let followed = holds.is_some_and(|(_, secret)| *secret == next.current);
    let kept = holds.is_none() && running.current == next.current;
    let withdrawn = kept && running.next.is_some() && next.next.is_none();
    match next.next.as_ref() {
        _ if same => Ok(None),
        announced if (kept || followed) && !withdrawn => Ok(announced),
        _ => Err("`handshake.secret_file`: the secret in force can only be followed by one that was announced, \
                  or cookies on their way would be refused: announce the new one in its second line"
            .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Cookies, SecretPlan};
    use crate::guarded::Guarded;

    const NOW: u32 = 1000;

    /// A secret of this letter; another one announced for an epoch, if there is one.
    fn plan(current: u8, next: Option<(u32, u8)>) -> HandshakePlan {
        let secret = |letter| Secret::from_bytes([letter; 32]);
        let next = next.map(|(epoch, letter)| (epoch, secret(letter)));
        let secrets = Guarded::new(Secrets { current: secret(current), next });
        let secret = SecretPlan { file: "secret".into(), secrets };
        HandshakePlan { cookies: Cookies::Auto, half_open_limit: 2, secret: Some(secret) }
    }

    /// What becomes of the keys of `running`.
    fn after(running: &HandshakePlan, next: &HandshakePlan) -> Result<Keys, String> {
        follow(&keyring(running).unwrap(), running, next, NOW)
            .map(|keyring| Keys::clone(&keyring.cookies))
    }

    #[test]
    fn a_secret_is_followed_by_what_was_announced() {
        let keys = |plan: &HandshakePlan| Keys::clone(&keyring(plan).unwrap().cookies);
        let (a, a_then_b) = (plan(b'a', None), plan(b'a', Some((NOW + 1, b'b'))));
        assert_eq!(after(&a, &a), Ok(keys(&a)));
        assert_eq!(after(&a, &a_then_b), Ok(keys(&a_then_b)));
        let a_then_c = plan(b'a', Some((NOW + 2, b'c')));
        assert_eq!(after(&a_then_b, &a_then_c), Ok(keys(&a_then_c)), "announced anew");
        let in_force = plan(b'a', Some((NOW - 1, b'b')));
        assert_eq!(after(&in_force, &in_force), Ok(keys(&in_force)));
        assert_eq!(after(&in_force, &plan(b'b', None)), Ok(keys(&in_force)));
        let both = after(&in_force, &plan(b'b', Some((NOW + 1, b'c')))).unwrap();
        assert_ne!(both, keys(&in_force));
    }

    #[test]
    fn what_would_break_cookies_is_refused() {
        let announced = plan(b'a', Some((NOW + 1, b'b')));
        let in_force = plan(b'a', Some((NOW - 1, b'b')));
        for (running, next) in [
            (plan(b'a', None), plan(b'b', None)),
            (plan(b'a', None), plan(b'b', Some((NOW + 1, b'a')))),
            (announced.clone(), plan(b'b', None)),
            (announced, plan(b'a', None)),
            (in_force.clone(), plan(b'a', None)),
            (in_force, plan(b'a', Some((NOW + 1, b'c')))),
        ] {
            let error = after(&running, &next).unwrap_err();
            assert!(error.contains("can only be followed by one that was announced"), "{error}");
        }
        let late = after(&plan(b'a', None), &plan(b'a', Some((NOW, b'b')))).unwrap_err();
        assert!(late.starts_with("`handshake.secret_file`: a new secret must hold from"), "{late}");
    }

    #[test]
    fn a_random_secret_stays() {
        let plan = HandshakePlan { secret: None, ..plan(b'a', None) };
        let keys = keyring(&plan).unwrap();
        assert_eq!(follow(&keys, &plan, &plan, NOW).unwrap().cookies, keys.cookies);
    }
}
