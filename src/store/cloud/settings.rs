//! What a store can be told: by `--store-option KEY=VALUE`, and by the usual environment, which counts less.
//!
//! Invariants:
//! - Only what stands in the tables here has an effect. The client library knows further settings; some of them would
//!   switch off what safety rests on (conditions, checksums, certificates).
//! - A name that is unknown is an error, never ignored.

use super::fault::Fault;
use super::secrets::Secrets;
use crate::store::location::{Options, Scheme};

/// One setting.
struct Setting {
    /// In `--store-option`.
    name: &'static str,
    /// Variables of the environment; the first that is set counts.
    environment: &'static [&'static str],
    /// Its value is never shown.
    is_secret: bool,
}

const fn open(name: &'static str, environment: &'static [&'static str]) -> Setting {
    Setting { name, environment, is_secret: false }
}

const fn secret(name: &'static str, environment: &'static [&'static str]) -> Setting {
    Setting { name, environment, is_secret: true }
}

/// For every store.
const ALL: &[Setting] = &[open("allow_http", &[]), open("ca_file", &["CSV_INGESTOR_STORE_CA"])];

const S3: &[Setting] = &[
    open("access_key_id", &["AWS_ACCESS_KEY_ID"]),
    secret("secret_access_key", &["AWS_SECRET_ACCESS_KEY"]),
    secret("session_token", &["AWS_SESSION_TOKEN"]),
    open("region", &["AWS_REGION", "AWS_DEFAULT_REGION"]),
    open("endpoint", &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]),
    open("virtual_hosted_style_request", &["AWS_VIRTUAL_HOSTED_STYLE_REQUEST"]),
    open("role_arn", &["AWS_ROLE_ARN"]),
    open("role_session_name", &["AWS_ROLE_SESSION_NAME"]),
    open("web_identity_token_file", &["AWS_WEB_IDENTITY_TOKEN_FILE"]),
    open("endpoint_url_sts", &["AWS_ENDPOINT_URL_STS"]),
    open("container_credentials_relative_uri", &["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"]),
    open("container_credentials_full_uri", &["AWS_CONTAINER_CREDENTIALS_FULL_URI"]),
    open("container_authorization_token_file", &["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]),
    open("metadata_endpoint", &["AWS_METADATA_ENDPOINT"]),
    open("server_side_encryption", &["AWS_SERVER_SIDE_ENCRYPTION"]),
    open("sse_kms_key_id", &["AWS_SSE_KMS_KEY_ID"]),
    open("sse_bucket_key_enabled", &["AWS_SSE_BUCKET_KEY_ENABLED"]),
    open("request_payer", &["AWS_REQUEST_PAYER"]),
];

const GS: &[Setting] = &[
    open("service_account", &["GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH"]),
    secret("service_account_key", &["GOOGLE_SERVICE_ACCOUNT_KEY"]),
    open("application_credentials", &["GOOGLE_APPLICATION_CREDENTIALS"]),
    secret("bearer_token", &["GOOGLE_BEARER_TOKEN"]),
    open("endpoint", &["GOOGLE_BASE_URL"]),
    open("skip_signature", &["GOOGLE_SKIP_SIGNATURE"]),
];

const AZ: &[Setting] = &[
    open("account_name", &["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"]),
    secret("account_key", &["AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_KEY"]),
    secret("sas_token", &["AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY"]),
    secret("bearer_token", &["AZURE_STORAGE_TOKEN"]),
    open("endpoint", &["AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"]),
    open("client_id", &["AZURE_CLIENT_ID", "AZURE_STORAGE_CLIENT_ID"]),
    secret("client_secret", &["AZURE_CLIENT_SECRET", "AZURE_STORAGE_CLIENT_SECRET"]),
    open("tenant_id", &["AZURE_TENANT_ID", "AZURE_STORAGE_TENANT_ID"]),
    open("authority_host", &["AZURE_AUTHORITY_HOST"]),
    open("federated_token_file", &["AZURE_FEDERATED_TOKEN_FILE"]),
    open("msi_endpoint", &["AZURE_MSI_ENDPOINT", "IDENTITY_ENDPOINT"]),
    open("object_id", &["AZURE_OBJECT_ID"]),
    open("msi_resource_id", &["AZURE_MSI_RESOURCE_ID"]),
];

fn table(scheme: Scheme) -> (&'static [Setting], &'static [&'static str]) {
    match scheme {
        Scheme::File => (&[], &[]),
        Scheme::S3 => (S3, &["aws_"]),
        Scheme::Gs => (GS, &["google_"]),
        Scheme::Az => (AZ, &["azure_storage_", "azure_"]),
    }
}

/// Reads a variable of the environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What a store has been told.
pub(super) struct Settings {
    /// (name, value), in the order of the table.
    values: Vec<(&'static str, String)>,
    /// The values that must not be shown.
    pub(super) secrets: Secrets,
}

impl Settings {
    /// Reads options and environment.
    ///
    /// # Errors
    /// [`Fault::UnknownOption`].
    pub(super) fn read(scheme: Scheme, options: &Options, environment: Environment<'_>) -> Result<Settings, Fault> {
        let (own, prefixes) = table(scheme);
        let known: Vec<&Setting> = ALL.iter().chain(own).collect();
        for (name, _) in &options.0 {
            if !known.iter().any(|setting| is_named(setting, name, prefixes)) {
                let names = known.iter().map(|setting| setting.name).collect::<Vec<_>>().join(", ");
                return Err(Fault::UnknownOption { scheme: scheme.text(), name: name.clone(), known: names });
            }
        }
        let mut settings = Settings { values: Vec::new(), secrets: Secrets::default() };
        for setting in known {
            let given = options.0.iter().rev().find(|(name, _)| is_named(setting, name, prefixes));
            let read =
                || setting.environment.iter().find_map(|name| environment(name).filter(|value| !value.is_empty()));
            if let Some(value) = given.map(|(_, value)| value.clone()).or_else(read) {
                if setting.is_secret {
                    settings.secrets.0.push(value.clone());
                }
                settings.values.push((setting.name, value));
            }
        }
        Ok(settings)
    }

    /// The value of a setting.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// A setting that is yes or no; no, if it is not given.
    ///
    /// # Errors
    /// [`Fault::BadValue`].
    pub(super) fn is_true(&self, name: &'static str) -> Result<bool, Fault> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Fault::BadValue { name, expected: "true or false" }),
        }
    }

    /// Those that the client library reads.
    pub(super) fn for_library(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let is_own = |name: &str| ALL.iter().any(|setting| setting.name == name);
        self.values.iter().filter(move |(name, _)| !is_own(name)).map(|(name, value)| (*name, value.as_str()))
    }
}

/// True for the setting's name, also with the prefix that the variables have.
fn is_named(setting: &Setting, name: &str, prefixes: &[&str]) -> bool {
    name == setting.name || prefixes.iter().any(|prefix| name.strip_prefix(prefix) == Some(setting.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Options {
        Options(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    fn environment(name: &str) -> Option<String> {
        match name {
            "AWS_REGION" => Some(String::new()),
            "AWS_DEFAULT_REGION" => Some("from-environment".to_owned()),
            "AWS_SECRET_ACCESS_KEY" => Some("hush".to_owned()),
            "AWS_ALLOW_INVALID_CERTIFICATES" | "AWS_UNSIGNED_PAYLOAD" => Some("true".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn options_count_more_than_the_environment() {
        let read = |pairs: &[(&str, &str)]| Settings::read(Scheme::S3, &options(pairs), &environment).unwrap();
        assert_eq!(read(&[]).get("region"), Some("from-environment"), "an empty variable is not set");
        assert_eq!(read(&[("region", "a"), ("aws_region", "b")]).get("region"), Some("b"), "the last one counts");
        assert_eq!(read(&[]).secrets.0, ["hush"]);
        let names: Vec<&str> = read(&[("allow_http", "true")]).for_library().map(|(name, _)| name).collect();
        assert_eq!(names, ["secret_access_key", "region"], "what weakens the store is not read from the environment");
        assert!(read(&[("allow_http", "true")]).is_true("allow_http").unwrap());
        assert!(read(&[("allow_http", "yes")]).is_true("allow_http").is_err());
    }

    #[test]
    fn an_unknown_option_is_an_error_that_names_the_known_ones() {
        for name in ["allow_invalid_certificates", "unsigned_payload", "conditional_put", "account_key", "regoin"] {
            let fault = Settings::read(Scheme::S3, &options(&[(name, "true")]), &environment).err().unwrap();
            let text = fault.to_string();
            assert!(text.contains(name) && text.contains("secret_access_key") && text.contains("ca_file"), "{text}");
        }
    }

    #[test]
    fn the_client_library_knows_each_setting() {
        use std::str::FromStr as _;
        for setting in S3 {
            object_store::aws::AmazonS3ConfigKey::from_str(setting.name).unwrap();
        }
        for setting in GS.iter().filter(|setting| setting.name != "endpoint") {
            object_store::gcp::GoogleConfigKey::from_str(setting.name).unwrap();
        }
        for setting in AZ {
            object_store::azure::AzureConfigKey::from_str(setting.name).unwrap();
        }
    }
}
