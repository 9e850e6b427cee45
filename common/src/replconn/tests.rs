#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

const USUAL: &str = "localhost=10.0.0.1 localport=26001 localheartbeatport=26005 localservice=26004 \
                     remotehost=10.0.0.2 remoteport=26001 remoteheartbeatport=26005 remoteservice=26004";

fn parse(value: &str) -> ReplicationChannel {
    ReplicationChannel::parse(value).unwrap().unwrap()
}

#[derive(Deserialize)]
struct Recorded {
    case: String,
    added: String,
    value_refused: Vec<String>,
}

/// What a server said to these values at reload.
#[test]
fn takes_what_the_server_took() {
    let cases: Vec<Recorded> =
        serde_json::from_str(include_str!("../../../tests/vectors/conf/reload-replconninfo.json")).unwrap();
    assert!(cases.len() > 30);
    for Recorded { case, added, value_refused } in cases {
        let file = crate::conf::ConfFile::parse(added.as_bytes());
        assert_eq!(file.errors(), [], "{case}");
        for setting in file.settings() {
            let refused = value_refused.contains(&setting.name);
            assert_eq!(
                ReplicationChannel::parse(&setting.text()).is_err(),
                refused,
                "{case}: {}",
                setting.text()
            );
        }
    }
}

#[test]
fn prints_the_usual_form() {
    assert_eq!(parse(USUAL).to_string(), USUAL);
    let cascade = format!("{USUAL} iscascade=true");
    assert_eq!(parse(&cascade).to_string(), cascade);
    assert!(parse(&cascade).cascade && !parse(&cascade).cross_region);
    let minimal = "localhost=a localport=1 remotehost=b remoteport=2";
    assert_eq!(parse(minimal).to_string(), minimal);
}

#[test]
fn any_order_and_spacing_is_the_same_channel() {
    let other = "  remoteservice = 26004 remoteheartbeatport=26005   remoteport =26001 remotehost= 10.0.0.2 \
                 localservice 26004 localheartbeatport=26005 localport==26001 localhost=::ffff:10.0.0.1 iscascade=false ";
    assert_eq!(parse(other), parse(USUAL));
}

#[test]
fn unknown_keys_are_kept() {
    let value = format!("foo=bar {USUAL} sslmode = disable remotenodeid=2 odd");
    let channel = parse(&value);
    assert_eq!(channel.extra, ["foo=bar", "sslmode=disable", "remotenodeid=2", "odd"]);
    assert_eq!(channel.to_string(), format!("{USUAL} foo=bar sslmode=disable remotenodeid=2 odd"));
}

#[test]
fn further_addresses_are_kept() {
    let value = format!("{USUAL}, localhost=10.1.0.1 localport=1 remotehost=10.1.0.2 remoteport=2");
    assert_eq!(parse(&value).to_string(), value);
    assert!(ReplicationChannel::parse(&format!("{USUAL}, hello")).is_err());
}

#[test]
fn blanks_are_no_channel() {
    assert_eq!(ReplicationChannel::parse("").unwrap(), None);
    assert_eq!(ReplicationChannel::parse("   ").unwrap(), None);
    assert_eq!(ReplicationChannel::parse("hello").unwrap_err().to_string(), "localhost is missing");
}

#[test]
fn hosts_are_values() {
    for (one, other) in [("::1", "0:0::1"), ("10.0.0.1", "::ffff:a00:1"), ("Node-1", "node-1")] {
        assert_eq!(ChannelHost::new(one), ChannelHost::new(other));
    }
    for (one, other) in [("10.0.0.1", "10.0.0.10"), ("::1", "127.0.0.1"), ("localhost", "127.0.0.1")] {
        assert_ne!(ChannelHost::new(one), ChannelHost::new(other));
    }
    for bad in ["a b", "a,b", "a=b", "-a", ".a", "a'", "größe", "xlocalport1"] {
        assert!(ChannelHost::new(bad).problem().is_some(), "{bad}");
    }
    for bad in [
        "10.0.0.1:26001",
        "node-1:26001",
        "10.0.0.256",
        "10.0.1",
        "10.1",
        "12345",
        "010.0.0.1",
        "0.0.0.0",
        "::",
        "::ffff:0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "ff02::1",
        "fe80::1::2",
        "fe80::1%",
        "1:2:3",
    ] {
        assert!(ChannelHost::new(bad).problem().is_some(), "{bad}");
    }
    for good in ["::1", "fe80::1%eth0", "10.0.0.1", "node-1.example.org", "127.0.0.900.example"] {
        assert_eq!(ChannelHost::new(good).problem(), None, "{good}");
    }
}

fn host() -> impl Strategy<Value = ChannelHost> {
    "([0-9]{1,3}\\.){3}[0-9]{1,3}|[a-f0-9]{1,4}:[a-f0-9]{1,4}::1|[a-km-qs-z][a-z0-9-]{0,12}"
        .prop_map(ChannelHost::new)
}

fn an_end() -> impl Strategy<Value = ChannelEnd> {
    let port = || 1_u32..65_536;
    (host(), port(), proptest::option::of(port()), proptest::option::of(port())).prop_map(
        |(host, port, heartbeat_port, service_port)| ChannelEnd { host, port, heartbeat_port, service_port },
    )
}

fn a_channel() -> impl Strategy<Value = ReplicationChannel> {
    (
        an_end(),
        an_end(),
        any::<bool>(),
        any::<bool>(),
        proptest::collection::vec("[xyz]{1,3}=[0-9a-z]{1,4}", 0..3),
    )
        .prop_map(|(local, remote, cascade, cross_region, extra)| ReplicationChannel {
            local,
            remote,
            cascade,
            cross_region,
            extra,
            more: Vec::new(),
        })
}

#[test]
fn a_word_that_holds_a_key_does_not_become_that_key() {
    let value =
        "localhost=a localport=1 localservice=x remotehost=b remoteport=2 localservice3 foo=iscascade bar=1";
    let channel = parse(value);
    assert_eq!((channel.local.service_port, &channel.extra[..]), (None, &["bar=1".to_owned()][..]));
    assert_eq!(parse(&channel.to_string()), channel);
}

#[test]
fn a_host_that_holds_a_key_is_a_problem() {
    for good in ["localhost", "localhost.localdomain", "10.0.0.1", "db1"] {
        assert_eq!(ChannelHost::new(good).problem(), None, "{good}");
    }
    for bad in ["remotehost", "my-localport", "iscascadetrue", "remoteservice1"] {
        assert!(ChannelHost::new(bad).problem().is_some(), "{bad}");
    }
    // What is written of it would be read as another channel.
    let odd = parse("remoteport0localhostremotehostlocalport0");
    assert_eq!((odd.local.host.text(), odd.remote.host.text()), ("remotehost", "localport0"));
    assert_ne!(parse(&odd.to_string()).remote, odd.remote);
}

proptest! {
    #[test]
    fn printed_and_parsed_again_it_is_the_same(channel in a_channel()) {
        prop_assert_eq!(parse(&channel.to_string()), channel);
    }

    #[test]
    fn never_panics(value in "(localhost|localport|remotehost|remoteport|iscascade|[ =,:]|[a-zé0-9]{1,3}){0,20}") {
        if let Ok(Some(channel)) = ReplicationChannel::parse(&value)
            && channel.local.host.problem().is_none()
            && channel.remote.host.problem().is_none()
        {
            let again = parse(&channel.to_string());
            prop_assert_eq!(again.local, channel.local);
            prop_assert_eq!(again.remote, channel.remote);
        }
    }
}
