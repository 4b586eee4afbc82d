//! Which form of a page a client prefers (RFC 9110 §12.5.1).

use hyper::HeaderMap;
use hyper::header::ACCEPT;

/// Whether `OpenMetrics` 1.0 is accepted, and no less than the text format of Prometheus.
pub(super) fn open_metrics(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(ACCEPT).iter().filter_map(|field| field.to_str().ok());
    let elements = fields.flat_map(|field| field.split(','));
    let (mut open, mut text) = (0.0, 0.0);
    for element in elements {
        let mut parts = element.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let (mut quality, mut is_ours) = (1.0, true);
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim_end().to_ascii_lowercase().as_str() {
                "q" => quality = value.trim().parse().unwrap_or(0.0),
                "version" => is_ours = value.trim().trim_matches('"') == "1.0.0",
                _ => {}
            }
        }
        if media_type.eq_ignore_ascii_case("application/openmetrics-text") && is_ours {
            open = f64::max(open, quality);
        } else if media_type.eq_ignore_ascii_case("text/plain") {
            text = f64::max(text, quality);
        }
    }
    open > 0.0 && open >= text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_chosen_by_quality_and_version() {
        for (field, wanted) in [
            // Prometheus 2.42, and 3 with its scrape_protocols.
            (
                "application/openmetrics-text;version=1.0.0,\
                 application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                true,
            ),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\"", true),
            ("application/openmetrics-text", true),
            ("text/plain;version=0.0.4, application/openmetrics-text;q=0.4", false),
            ("application/openmetrics-text;version=0.0.1", false),
            ("application/openmetrics-text;q=0", false),
            ("application/openmetrics-text;q=x", false),
            ("text/plain", false),
            ("*/*", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, field.parse().expect("a field"));
            assert_eq!(open_metrics(&headers), wanted, "{field}");
        }
        assert!(!open_metrics(&HeaderMap::new()));
    }
}
