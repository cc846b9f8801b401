//! AssumeRole and AssumeRoleWithWebIdentity, of the Security Token Service: temporary credentials.

use serde_json::json;

use super::{Action, Answer, Call};
use crate::cloud::Cloud;
use crate::error::ApiError;
use crate::issuer::{Issued, Proof};
use crate::params::{Field, Kind};
use crate::world::Credential;

pub(super) const SIGNED: Action = Action {
    name: "AssumeRole",
    limit: 20,
    fields: &[
        Field::required("RoleArn", Kind::Text),
        Field::required("RoleSessionName", Kind::Text),
        Field::optional("DurationSeconds", Kind::Number),
        Field::optional("Policy", Kind::Text),
        Field::optional("ExternalId", Kind::Text),
        Field::optional("SourceIdentity", Kind::Text),
        Field::optional("SerialNumber", Kind::Text),
        Field::optional("TokenCode", Kind::Text),
    ],
    run: |cloud, call| run(cloud, call, &Proof::Signature(call.params.text("ExternalId"))),
};

pub(super) const WITH_WEB_IDENTITY: Action = Action {
    name: super::UNSIGNED,
    limit: 20,
    fields: &[
        Field::required("ProviderId", Kind::Text),
        Field::required("WebIdentityToken", Kind::Text),
        Field::required("RoleArn", Kind::Text),
        Field::required("RoleSessionName", Kind::Text),
        Field::optional("DurationSeconds", Kind::Number),
    ],
    run: |cloud, call| {
        let (provider, token) =
            (call.params.required_text("ProviderId")?, call.params.required_text("WebIdentityToken")?);
        run(cloud, call, &Proof::WebIdentity(provider, token))
    },
};

fn run(cloud: &mut Cloud, call: &Call<'_>, proof: &Proof<'_>) -> Result<Answer, ApiError> {
    let session = call.params.required_text("RoleSessionName")?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if !(2..=128).contains(&session.len()) || !session.chars().all(fits) {
        return Err(ApiError::new("InvalidParameter.ParamError", "The RoleSessionName is not valid."));
    }
    let (arn, seconds) = (call.params.required_text("RoleArn")?, call.params.number("DurationSeconds"));
    let issued = cloud.issuer.assume(arn, proof, seconds, call.now)?;
    let Issued { credential: Credential { secret_id, secret_key, token, .. }, ends } = &issued;
    Ok(Answer::from_iter([
        (
            "Credentials".to_owned(),
            json!({"Token": token, "TmpSecretId": secret_id, "TmpSecretKey": secret_key}),
        ),
        ("ExpiredTime".to_owned(), ends.as_second().into()),
        ("Expiration".to_owned(), issued.expiration().into()),
    ]))
}
