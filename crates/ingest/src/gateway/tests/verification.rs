//! `GET`: the registration of an address.

use super::*;

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).expect("a request")
}

#[tokio::test]
async fn the_challenge_comes_back_for_the_right_token_only() {
    let right = "hub.mode=subscribe&hub.verify_token=let-me-in&hub.challenge=17%3Cb%3E";
    let cases = [
        ("main", right, StatusCode::OK, "17<b>"),
        ("other", right, StatusCode::NOT_FOUND, ""),
        ("main", "", StatusCode::FORBIDDEN, ""),
        ("main", "hub.mode=subscribe&hub.challenge=17", StatusCode::FORBIDDEN, ""),
        ("main", "hub.mode=subscribe&hub.verify_token=let-me-in", StatusCode::FORBIDDEN, ""),
        ("main", "hub.verify_token=let-me-in&hub.challenge=17", StatusCode::FORBIDDEN, ""),
    ];
    let (router, _) = gateway();
    for (app, query, status, text) in cases {
        let request = get(&format!("/webhooks/{app}?{query}"));
        assert_eq!(answer(&router, request).await, (status, text.to_owned()), "{app} {query}");
    }
    for (mode, token) in [
        ("unsubscribe", "let-me-in"),
        ("subscribe", ""),
        ("subscribe", "let-me-i"),
        ("subscribe", "let-me-in-"),
        ("subscribe", "Let-me-in"),
    ] {
        let query = format!("hub.mode={mode}&hub.verify_token={token}&hub.challenge=17");
        let (status, text) = answer(&router, get(&format!("/webhooks/main?{query}"))).await;
        assert_eq!((status, text.as_str()), (StatusCode::FORBIDDEN, ""), "{query}");
    }
}

#[tokio::test]
async fn the_challenge_is_never_a_page() {
    let query = "hub.mode=subscribe&hub.verify_token=let-me-in&hub.challenge=x";
    let response = call(&gateway().0, get(&format!("/webhooks/main?{query}"))).await;
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
}
