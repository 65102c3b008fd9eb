//! The site: one page with its style, its script and its data in it.

use serde_json::Value;

const PAGE: &str = include_str!("site/index.html");
const STYLE: &str = include_str!("site/style.css");
const SCRIPTS: [&str; 2] = [include_str!("site/graph.js"), include_str!("site/app.js")];

pub(super) fn page(title: &str, manifest: &Value, catalog: &Value, column_lineage: &Value) -> String {
    let parts = [
        ("title", text(title)),
        ("style", STYLE.to_owned()),
        ("manifest", data(manifest)),
        ("catalog", data(catalog)),
        ("column_lineage", data(column_lineage)),
        ("script", SCRIPTS.join("\n")),
    ];
    // Each mark is looked for in the page alone: what was put in may well hold the same words.
    let mut page = String::new();
    let mut rest = PAGE;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((mark, after)) = after.split_once("}}") else { break };
        page.push_str(before);
        page.extend(parts.iter().filter(|(name, _)| *name == mark).map(|(_, value)| value.as_str()));
        rest = after;
    }
    page + rest
}

/// JSON that nothing in it can lead out of its element.
fn data(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c")
}

fn text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_of_the_project_cannot_become_markup_or_a_mark_of_the_page() {
        let manifest = json!({"a": "</script><script>alert(1)</script> {{catalog}} {{script}}"});
        let page = page("shop", &manifest, &json!({"b": 1}), &json!({}));
        assert_eq!(page.matches("</script>").count(), PAGE.matches("</script>").count());
        assert!(page.contains("alert(1)") && page.contains("{{catalog}} {{script}}"), "texts stay what they are");
        assert!(page.contains("<title>shop</title>") && page.contains("{\"b\":1}"));
    }

    #[test]
    fn the_page_asks_nothing_of_the_network() {
        let page = page("shop", &json!({}), &json!({}), &json!({}));
        let loads = ["src=", "href=\"http", "@import", "url(", "fetch(", "XMLHttpRequest", "import("];
        for load in loads {
            assert!(!page.contains(load), "{load}");
        }
    }
}
