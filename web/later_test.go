package web_test

import (
	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// A part of the player that is loaded later does not come: the session goes on, its end has a
// button, and the part is asked for again.
func walkLaterLost(v *visit) {
	v.site.lacks.Store("/assets/js/later.js")
	b, _ := v.play()
	b.say(wire.Message{Type: wire.MsgEnded, End: &wire.End{Reason: wire.ReasonIdle}})
	v.state("ended")
	v.untilText("Start again")
	testkit.Until(v, "the part is asked for", func() bool { return v.site.missed.Load() > 0 })
	v.site.lacks.Store("")
	v.press(".primary")
	b = v.site.nextBrain()
	v.site.serve(b, false)
	v.state("streaming")
	kept := !evaluate[bool](v, `import('/assets/js/later.js').then(() => true, () => false)`)
	b.say(wire.Message{Type: wire.MsgEnded, End: &wire.End{Reason: wire.ReasonIdle}})
	if kept {
		v.Log("this browser keeps the failure of a module until the page is loaded again")
		v.untilText("Start again")
		return
	}
	v.untilText("You were away")
}

// hold keeps a file of the site back until it is released.
func (s *site) hold(path string) (release func()) {
	comes := make(chan struct{})
	s.late.Store(path, comes)
	return func() {
		s.late.Delete(path)
		close(comes)
	}
}

// What closes an app is said, and told to the page, before the words for it are there.
func walkLaterShut(v *visit) {
	release := v.site.hold("/assets/js/later.js")
	v.site.token = "good"
	v.openShop(`<nearcast-player src="SITE" app="viewer" token="bad"></nearcast-player>`)
	v.until(`player.state === 'unavailable' && seen.some(([type, { state }]) => type === 'state' && state === 'unavailable')`)
	v.untilText("Its key was revoked.") // in the router's words
	release()
	v.untilText("The launch token of this page was not accepted")
}

// Who waits in the queue gets the reasons of the site when they come, and keeps the focus.
func walkLaterQueue(v *visit) {
	release := v.site.hold("/assets/js/later.js")
	v.openShop(`<nearcast-player src="SITE" app="viewer"></nearcast-player>`)
	v.press(".play-button")
	b := v.site.nextBrain()
	b.say(wire.Message{Type: wire.MsgQueued, Queue: &wire.Queue{Position: 3, EstimateMS: 95_000}})
	v.untilText("You are number 3 in the queue")
	v.script(`document.querySelector('[part~=cancel]').focus()`)
	release()
	v.until(`document.querySelector('.waiting .why')`)
	if !evaluate[bool](v, `document.activeElement.matches('[part~=cancel]')`) {
		v.Error("Cancel lost the focus")
	}
	v.press(".waiting .why summary")
	v.untilText("nearest, with a seat idle")
}

// Parts that come when the session is over: nothing lies over the screen of its end, which can take
// the session back.
func walkLaterOver(v *visit) {
	releaseClipboard, release := v.site.hold("/assets/js/input/clipboard.js"), v.site.hold("/assets/js/later.js")
	v.openShop(`<nearcast-player src="SITE" app="viewer"></nearcast-player>`)
	v.press(".play-button")
	b := v.site.nextBrain()
	grant := v.site.grant(false)
	grant.Display.Clipboard = wire.ClipboardBoth
	b.say(wire.Message{Type: wire.MsgGranted, Grant: grant})
	v.site.answer(b, b.hello.SDP)
	v.until(`player.state === 'streaming'`)
	const paste = `document.querySelector('.toolbar [aria-label^="Paste"]').hidden`
	if !evaluate[bool](v, paste) {
		v.Error("the toolbar offers to paste before the part is there that does it")
	}
	releaseClipboard()
	v.until(`!` + paste)
	v.script(`document.querySelector('[aria-label^="Statistics ("]').click(); document.querySelector('.toolbar [aria-label^="What you can do"]').click()`)
	replaced := func() {
		testkit.Must(v, b.conn.Close(websocket.StatusCode(wire.CloseReplaced), "another page"))
		v.until(`player.state === 'replaced'`)
	}
	replaced()
	v.press(".primary")
	if b = v.site.nextBrain(); b.hello.Resume != "resume" {
		v.Fatalf("hello = %+v, want the seat that another page has", b.hello)
	}
	replaced()
	release()
	v.untilText("Continued in another page")
	if evaluate[bool](v, `!document.querySelector('.stats').hidden || document.querySelector('dialog.help').open`) {
		v.Error("what was asked for over the picture lies over the screen of its end")
	}
}
