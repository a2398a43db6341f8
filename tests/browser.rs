//! Phones in browsers that others wrote, over ws and wss: SIP.js calls and is called, JsSIP registers by a Route of its own.

#[path = "browser/browser.rs"]
mod browser;
#[path = "sipp/daemon.rs"]
mod daemon;
#[path = "browser/desk.rs"]
mod desk;
#[path = "browser/node.rs"]
mod node;

use browser::Browser;
use desk::Desk;
use node::Node;

#[test]
fn a_phone_calls_a_browser_and_either_changes_and_ends_the_call() {
    let node = Node::start("");
    for (transport, user) in [("ws", "alice"), ("wss", "bob")] {
        let mut browser = Browser::start("sipjs.mjs", &node, transport, user);
        browser.register();
        let mut desk = Desk::new(&node);
        let mut call = desk.call(&format!("sip:{user}@sip.example"));
        browser.expect("called by sip:desk@sip.example");
        assert!(call.target.contains(".invalid;transport=ws"), "{}", call.target);
        browser.expect("established");
        desk.acknowledge(&mut call);
        browser.expect("acknowledged");
        // A change from either side, and the end from one.
        desk.change(&mut call);
        browser.expect("reinvited");
        browser.expect("acknowledged");
        browser.say("reinvite");
        desk.accept_change();
        browser.expect("answer 200");
        if transport == "ws" {
            desk.hang_up(&mut call);
            browser.expect("terminated");
        } else {
            browser.say("bye");
            browser.expect("terminated");
            desk.accept("BYE");
            browser.expect("answer 200");
        }
        browser.end();
    }
    assert_eq!((node.count("connections_broken"), node.count("dropped_stray_ack")), (0, 0));
}

#[test]
fn a_browser_calls_a_phone_and_either_ends_the_call() {
    let node = Node::start("");
    let mut desk = Desk::new(&node);
    desk.register();
    for (transport, ends_by_desk) in [("ws", true), ("wss", false)] {
        let mut browser = Browser::start("sipjs.mjs", &node, transport, transport);
        browser.register();
        browser.say("call sip:desk@sip.example");
        let mut call = desk.take_call();
        browser.expect("answer 200");
        browser.expect("established");
        desk.wait_for_acknowledgement();
        if ends_by_desk {
            desk.change(&mut call);
            browser.expect("reinvited");
            browser.expect("acknowledged");
            desk.hang_up(&mut call);
            browser.expect("terminated");
        } else {
            browser.say("reinvite");
            desk.accept_change();
            browser.expect("answer 200");
            browser.say("bye");
            browser.expect("terminated");
            desk.accept("BYE");
            browser.expect("answer 200");
        }
        browser.end();
    }
}

#[test]
fn browsers_call_each_other_and_send_messages_whatever_they_connect_by() {
    let node = Node::start("");
    let mut caller = Browser::start("sipjs.mjs", &node, "ws", "alice");
    let mut callee = Browser::start("sipjs.mjs", &node, "wss", "bob");
    caller.register();
    callee.register();
    caller.say("message sip:bob@sip.example Grüße, alles da?");
    callee.expect("message Grüße, alles da?");
    caller.expect("answer 200");
    caller.say("call sip:bob@sip.example");
    callee.expect("called by sip:alice@sip.example");
    callee.expect("established");
    caller.expect("established");
    callee.expect("acknowledged");
    callee.say("reinvite");
    caller.expect("reinvited");
    callee.expect("answer 200");
    caller.expect("acknowledged");
    callee.say("bye");
    caller.expect("terminated");
    callee.expect("answer 200");
    // Who has closed its page is not reached, and who asks is told so.
    callee.say("close");
    callee.expect("disconnected");
    callee.end();
    node.wait_for("bindings_flow_lost", 1);
    caller.say("message sip:bob@sip.example again");
    caller.expect("answer 480");
    caller.say("unregister");
    caller.expect("unregistered");
    assert_eq!(node.count("connections_broken"), 0);
}

#[test]
fn another_library_registers_by_a_route_that_it_makes_of_the_url() {
    let node = Node::start("");
    let mut other = Browser::start("sipjs.mjs", &node, "ws", "alice");
    other.register();
    for transport in ["ws", "wss"] {
        let mut browser = Browser::start("jssip.mjs", &node, transport, transport);
        browser.register();
        other.say(&format!("message sip:{transport}@sip.example to JsSIP"));
        browser.expect("message to JsSIP");
        other.expect("answer 200");
        browser.say("message sip:alice@sip.example to SIP.js");
        other.expect("message to SIP.js");
        browser.expect("answer 200");
        browser.say("unregister");
        browser.expect("unregistered");
        browser.say("close");
        browser.expect("disconnected");
        browser.end();
    }
    assert_eq!((node.count("registers_refused"), node.count("connections_broken")), (0, 0));
}
