"""Two users and a room, by slixmpp: twousers.py DOMAIN ADDRESS PORT CA ROOMS

Prints each step that worked; whatever goes wrong ends the program.
"""

import asyncio
import logging
import sys

import slixmpp
from slixmpp.exceptions import IqError

DOMAIN, ADDRESS, PORT, CA, ROOMS = sys.argv[1:]
ROOM = "coven@" + ROOMS
PLUGINS = ["0030", "0045", "0049", "0054", "0059", "0060", "0115", "0163", "0191", "0198", "0199", "0202", "0280", "0313", "0359", "0424", "0421"]


class User(slixmpp.ClientXMPP):
    def __init__(self, name):
        super().__init__(name + "@" + DOMAIN + "/desk", "secret-" + name)
        self.name = name
        self.ca_certs = CA
        for p in PLUGINS:
            self.register_plugin("xep_" + p)
        self.heard = asyncio.Queue()
        self.waiting = []
        for event in ("message", "message_error", "groupchat_message", "groupchat_subject", "presence_available", "roster_update",
                      "session_resumed", "session_start", "sm_enabled", "carbon_received", "carbon_sent", "pubsub_publish", "pubsub_retract", "disconnected",
                      "muc::%s::self-presence" % ROOM, "muc::%s::got_online" % ROOM, "muc::%s::got_offline" % ROOM, "blocked_message"):
            self.add_event_handler(event, lambda data, event=event: self.heard.put_nowait((event, data)))

    async def wait(self, event, check=lambda data: True):
        """The next such event; others are kept."""
        for i, (e, data) in enumerate(self.waiting):
            if e == event and check(data):
                del self.waiting[i]
                return data
        while True:
            e, data = await asyncio.wait_for(self.heard.get(), 15)
            if e == event and check(data):
                return data
            self.waiting.append((e, data))

    def go(self):
        self.connect((ADDRESS, int(PORT)))


def body(text):
    return lambda m: m["body"] == text


def step(name):
    print("done", name, flush=True)  # it prints things of its own


async def refused(iq, *conditions):
    try:
        await iq
    except IqError as e:
        assert e.condition in conditions, e
        return
    raise AssertionError("not refused")


async def main():
    alice, bob = User("alice"), User("bob")
    bob["xep_0163"].add_interest("urn:example:pep")
    for u in (alice, bob):
        u.go()
        await u.wait("session_start")
        await u.wait("sm_enabled")
        await u.get_roster()
        u.send_presence()
    step("login")

    alice.auto_authorize = alice.auto_subscribe = bob.auto_authorize = bob.auto_subscribe = True
    alice.send_presence_subscription(pto=bob.boundjid.bare)
    await alice.wait("presence_available", lambda p: p["from"] == bob.boundjid)
    await bob.wait("presence_available", lambda p: p["from"] == alice.boundjid)
    roster = await bob.get_roster()
    assert bob.client_roster[alice.boundjid.bare]["subscription"] == "both", roster
    alice.update_roster(bob.boundjid.bare, name="Bob", groups=["Friends"])
    await alice.wait("roster_update", lambda iq: "Bob" in str(iq))
    step("roster")

    info = await alice["xep_0030"].get_info(jid=DOMAIN)
    assert "urn:xmpp:carbons:2" in info["disco_info"]["features"], info
    info = await alice["xep_0030"].get_info(jid=alice.boundjid.bare)
    assert "urn:xmpp:mam:2" in info["disco_info"]["features"], info
    await alice["xep_0199"].send_ping(DOMAIN)
    await alice["xep_0199"].send_ping(bob.boundjid)
    step("disco")

    bob.send_message(mto=alice.boundjid, mbody="to the session", mtype="chat")
    await alice.wait("message", body("to the session"))
    bob.send_message(mto=alice.boundjid.bare, mbody="to all", mtype="chat")
    await alice.wait("message", body("to all"))
    step("message")

    second = User("alice")
    second.requested_jid.resource = "phone"
    second.go()
    await second.wait("session_start")
    await second.get_roster()
    await second["xep_0280"].enable()
    second.send_presence(ppriority=-1)
    await alice.wait("presence_available", lambda p: p["from"] == second.boundjid)
    bob.send_message(mto=alice.boundjid, mbody="copied", mtype="chat")
    await second.wait("carbon_received", lambda m: m["carbon_received"]["body"] == "copied")
    alice.send_message(mto=bob.boundjid, mbody="mine", mtype="chat")
    await second.wait("carbon_sent", lambda m: m["carbon_sent"]["body"] == "mine")
    second.disconnect()
    step("carbons")

    async def archive(**kw):
        found = []
        async for m in alice["xep_0313"].iterate(**kw):
            found.append(m["mam_result"]["forwarded"]["stanza"]["body"])
        return [b for b in found if b]

    assert await archive(rsm={"max": 2}) == ["to the session", "to all", "copied", "mine"]
    got = await archive(rsm={"max": 2}, reverse=True)
    assert sorted(got) == ["copied", "mine", "to all", "to the session"], got
    assert await archive(with_jid="nobody@" + DOMAIN) == []
    step("archive")

    # The connection breaks while a message is under way to it.
    alice.abort()
    await alice.wait("disconnected")
    bob.send_message(mto=alice.boundjid, mbody="meanwhile", mtype="chat")
    alice.go()
    await alice.wait("session_resumed")
    await alice.wait("message", body("meanwhile"))
    await alice["xep_0199"].send_ping(DOMAIN)
    step("resume")

    await alice["xep_0191"].block(bob.boundjid.bare)
    blocked = await alice["xep_0191"].get_blocked()
    assert str(bob.boundjid.bare) in str(blocked)
    bob.send_message(mto=alice.boundjid.bare, mbody="blocked", mtype="chat")
    error = await bob.wait("message_error")
    assert error["error"]["condition"] == "service-unavailable", error
    await alice["xep_0191"].unblock(bob.boundjid.bare)
    step("blocking")

    card = alice["xep_0054"].make_vcard()
    card["FN"] = "Alice"
    await alice["xep_0054"].publish_vcard(vcard=card)
    got = await bob["xep_0054"].get_vcard(jid=alice.boundjid.bare)
    assert got["vcard_temp"]["FN"] == "Alice", got
    step("vcard")

    payload = slixmpp.xmlstream.ET.fromstring("<x xmlns='urn:example:pep'>1</x>")
    await alice["xep_0060"].publish(alice.boundjid.bare, "urn:example:pep", id="one", payload=payload)
    await bob.wait("pubsub_publish", lambda m: m["pubsub_event"]["items"]["node"] == "urn:example:pep")
    items = await bob["xep_0060"].get_items(alice.boundjid.bare, "urn:example:pep")
    assert [i["id"] for i in items["pubsub"]["items"]] == ["one"], items
    await alice["xep_0060"].retract(alice.boundjid.bare, "urn:example:pep", "one", notify=True)
    await bob.wait("pubsub_retract")
    form = await alice["xep_0060"].get_node_config(alice.boundjid.bare, "urn:example:pep")
    form = form["pubsub_owner"]["configure"]["form"]
    form.reply()
    form["type"] = "submit"
    form.set_values({"FORM_TYPE": "http://jabber.org/protocol/pubsub#node_config", "pubsub#access_model": "whitelist"})
    await alice["xep_0060"].set_node_config(alice.boundjid.bare, "urn:example:pep", form)
    # The one by XEP-0060 §6.5.9.6, the other by Prosody.
    await refused(bob["xep_0060"].get_items(alice.boundjid.bare, "urn:example:pep"), "not-allowed", "forbidden")
    await alice["xep_0060"].delete_node(alice.boundjid.bare, "urn:example:pep")
    step("pep")

    a, b = alice["xep_0045"], bob["xep_0045"]
    await a.join_muc_wait(ROOM, "Alice")
    form = await a.get_room_config(ROOM)
    form.reply()
    form["type"] = "submit"
    await a.set_room_config(ROOM, form)
    alice.send_message(mto=ROOM, mbody="before", mtype="groupchat")
    await alice.wait("groupchat_message", body("before"))
    await b.join_muc_wait(ROOM, "Bob", maxstanzas=5)
    await bob.wait("groupchat_message", body("before"))
    await alice.wait("muc::%s::got_online" % ROOM, lambda p: p["muc"]["nick"] == "Bob")
    bob.send_message(mto=ROOM, mbody="after", mtype="groupchat")
    m = await alice.wait("groupchat_message", body("after"))
    assert m["mucnick"] == "Bob" and m["stanza_id"]["by"] == ROOM and m["occupant-id"]["id"], m
    a.set_subject(ROOM, "Thrice")
    await bob.wait("groupchat_subject", lambda m: m["subject"] == "Thrice")
    bob.send_message(mto=ROOM + "/Alice", mbody="psst", mtype="chat")
    await alice.wait("message", body("psst"))
    await bob["xep_0199"].send_ping(ROOM + "/Bob")
    step("room")

    # Both are right: he is no moderator, and she is the owner (XEP-0045 §8.2).
    await refused(b.set_role(ROOM, "Alice", "none"), "forbidden", "not-allowed")
    await a.set_affiliation(ROOM, "member", jid=bob.boundjid.bare)
    members = await a.get_affiliation_list(ROOM, "member")
    assert members == [bob.boundjid.bare], members
    await a.set_role(ROOM, "Bob", "none", reason="enough")
    gone = await bob.wait("muc::%s::got_offline" % ROOM)
    assert gone["muc"]["role"] == "none", gone
    await a.set_affiliation(ROOM, "outcast", jid=bob.boundjid.bare)
    banned = await a.get_affiliation_list(ROOM, "outcast")
    assert banned == [bob.boundjid.bare], banned
    await a.destroy(ROOM)
    step("moderation")

    for u in (alice, bob):
        u.disconnect()
        await u.wait("disconnected")
    step("end")


logging.basicConfig(level=logging.WARNING)
asyncio.get_event_loop().run_until_complete(main())
