//! What is wrong with the variables that name the trusted certificates.
//!
//! An unreadable file is silently skipped if there are certificates elsewhere, and the handshake fails later for
//! another reason. So the variables are checked after any TLS failure.

use std::path::Path;

/// A sentence about the first variable that cannot be used.
pub(super) fn complaint() -> Option<String> {
    ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().find_map(|name| {
        let path = std::env::var_os(name)?;
        problem(name, Path::new(&path))
    })
}

fn problem(name: &str, path: &Path) -> Option<String> {
    let wants_folder = name == "SSL_CERT_DIR";
    let problem = match std::fs::metadata(path) {
        Err(error) => error.to_string(),
        Ok(found) if wants_folder && !found.is_dir() => "is not a directory".to_owned(),
        Ok(found) if !wants_folder && found.is_dir() => "is a directory, not a PEM file".to_owned(),
        Ok(found) if !wants_folder && found.len() == 0 => "is empty".to_owned(),
        Ok(_) if wants_folder => return None,
        Ok(_) => match std::fs::read_to_string(path) {
            Ok(text) if text.contains("-----BEGIN ") => return None,
            Ok(_) => "holds no certificate (expects PEM)".to_owned(),
            Err(error) => error.to_string(),
        },
    };
    Some(format!("{name} ({}): {problem}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_with_the_variables_are_explained() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trusted.pem");
        let said = |name: &str, path: &Path| problem(name, path).unwrap();
        std::fs::write(&file, "").unwrap();
        assert!(said("SSL_CERT_FILE", folder.path()).ends_with("is a directory, not a PEM file"));
        assert!(said("SSL_CERT_FILE", &file).ends_with("trusted.pem): is empty"));
        assert!(said("SSL_CERT_FILE", Path::new("/nowhere")).contains("No such file"));
        assert!(said("SSL_CERT_DIR", &file).ends_with("is not a directory"));
        std::fs::write(&file, "hello").unwrap();
        assert!(said("SSL_CERT_FILE", &file).ends_with("holds no certificate (expects PEM)"));
        std::fs::write(&file, "-----BEGIN CERTIFICATE-----\n").unwrap();
        assert_eq!(problem("SSL_CERT_FILE", &file), None);
        assert_eq!(problem("SSL_CERT_DIR", folder.path()), None);
    }
}
