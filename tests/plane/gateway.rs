//! The webhook gateway as Meta and as an attacker see it.

use sendplane_tests::http;
use sendplane_tests::plane::Plane;

use crate::turn;

#[test]
fn only_signed_bodies_of_known_apps_are_taken() {
    let _turn = turn();
    let plane = Plane::start();
    let port: u16 = plane.gateway().rsplit(':').next().and_then(|p| p.parse().ok()).expect("port");
    let get = |path: &str| http::request(port, "GET", path, &[], "");
    let token = "hub.mode=subscribe&hub.verify_token=metasim-verify-token&hub.challenge=4711";
    assert_eq!(get(&format!("/webhooks/demo?{token}")), (200, "4711".to_owned()));
    let wrong = token.replace("metasim-verify", "wrong");
    assert_eq!(get(&format!("/webhooks/demo?{wrong}")).0, 403);
    assert_eq!(get(&format!("/webhooks/nobody?{token}")).0, 404);

    let before = plane.read("sendplane.webhooks.v1").len();
    let post = |headers: &[(&str, &str)], body: &str| {
        http::request(port, "POST", "/webhooks/demo", headers, body).0
    };
    let body = r#"{"object":"whatsapp_business_account","entry":[]}"#;
    assert_eq!(post(&[], body), 401, "no signature");
    let zeros = format!("sha256={}", "0".repeat(64));
    assert_eq!(post(&[("x-hub-signature-256", &zeros)], body), 401, "a wrong one");
    assert_eq!(post(&[("x-hub-signature-256", "sha256=zz")], body), 401, "no hexadecimal");
    assert_eq!(plane.read("sendplane.webhooks.v1").len(), before, "nothing was taken");
}
