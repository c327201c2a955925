package web_test

import (
	"github.com/chromedp/cdproto/input"

	"github.com/nearcast/nearcast/internal/testkit/browser"
	"github.com/nearcast/nearcast/internal/wire"
)

// spare has the site tell of seats to spare.
func (v *visit) spare() {
	v.site.mu.Lock()
	defer v.site.mu.Unlock()
	app := viewer
	app.Sites = map[string]wire.Capacity{"eu-central": {Idle: 3, Warm: 3, Max: 4}}
	v.site.apps = wire.AppsResponse{Apps: []wire.AppView{app}}
}

// pointer moves to Play, or away from it.
func (v *visit) pointer(atPlay bool) {
	v.Helper()
	at := browser.Point{X: 5, Y: 5}
	if atPlay {
		at = evaluate[browser.Point](v, browser.Middle(`.play-button`))
	}
	v.moveTo(at.X, at.Y)
}

// rest opens the app, and has the pointer rest on Play.
func (v *visit) rest() *brain {
	v.Helper()
	return v.restBy(func() { v.pointer(true) })
}

// restBy is rest by something else.
func (v *visit) restBy(what func()) *brain {
	v.Helper()
	v.spare()
	v.open("/play/viewer")
	v.until(`nearcast.race?.leader === 'eu-central'`)
	v.untilText("Ready now")
	what()
	b := v.site.nextBrain()
	if b.hello.Type != wire.MsgPrepare || b.hello.Ticket != "ticket" || b.hello.SDP == "" || b.hello.View == nil {
		v.Fatalf("the page said %+v", b.hello)
	}
	return b
}

func (v *visit) launches() int {
	v.site.mu.Lock()
	defer v.site.mu.Unlock()
	return len(v.site.launches)
}

// walkPrepared presses Play with the connection up: the picture is there at once.
func walkPrepared(v *visit) {
	b := v.rest()
	grant := v.site.grant(false)
	grant.Prepared = true
	b.say(wire.Message{Type: wire.MsgGranted, Grant: grant})
	st := v.site.answerPaused(b, b.hello.SDP)
	<-st.connected
	if got := evaluate[string](v, `nearcast.state`); got != "ready" {
		v.Fatalf("the page is %s before Play", got)
	}
	v.press(".play-button")
	b.hear(wire.MsgPlay)
	close(st.play)
	b.say(wire.Message{Type: wire.MsgGranted, Grant: v.site.grant(false)})
	v.state("streaming")
	v.until(`document.querySelector('video').videoWidth === 1280`)
	if n := v.launches(); n != 1 {
		v.Errorf("%d launches", n)
	}
	// It is a session as any other.
	v.site.wantInput("cursor", func(in wire.Input) bool { return in.Type == wire.InputCursor })
	_ = b.conn.CloseNow()
	again := v.site.nextBrain()
	if again.hello.Resume != "resume" || again.hello.SDP != "" {
		v.Errorf("the page came back with %+v", again.hello)
	}
}

// walkPreparedLate presses Play as the seat goes to somebody else: the page launches anew.
func walkPreparedLate(v *visit) {
	b := v.rest()
	grant := v.site.grant(false)
	grant.Prepared = true
	b.say(wire.Message{Type: wire.MsgGranted, Grant: grant})
	v.site.answerPaused(b, b.hello.SDP)
	v.press(".play-button")
	b.hear(wire.MsgPlay)
	b.say(wire.Message{Type: wire.MsgEnded, End: &wire.End{Reason: wire.ReasonLost}})
	next := v.site.nextBrain()
	if next.hello.Type != wire.MsgHello || next.hello.SDP == b.hello.SDP {
		v.Errorf("the page said %+v", next.hello)
	}
	v.site.serve(next, false)
	v.state("streaming")
}

// walkUnprepared presses Play where nothing was to spare: by the same socket, without another launch.
func walkUnprepared(v *visit) {
	b := v.rest()
	b.say(wire.Message{Type: wire.MsgUnprepared})
	v.press(".play-button")
	b.hear(wire.MsgPlay)
	b.say(wire.Message{Type: wire.MsgQueued, Queue: &wire.Queue{Position: 2, EstimateMS: -1}})
	v.state("queued")
	v.site.serve(b, false)
	v.state("streaming")
	if n := v.launches(); n != 1 {
		v.Errorf("%d launches", n)
	}
}

// walkRestAndGo leaves Play, or stays too long: nothing is held, and Play is as without it.
func walkRestAndGo(v *visit) {
	b := v.rest()
	v.pointer(false)
	b.hear(wire.MsgLeave)
	<-b.done
	v.pointer(true)
	b = v.site.nextBrain()
	b.say(wire.Message{Type: wire.MsgEnded, End: &wire.End{Reason: wire.ReasonLost}}) // five seconds are over
	<-b.done
	if got := evaluate[string](v, `nearcast.state`); got != "ready" {
		v.Fatalf("the page is %s without Play", got)
	}
	v.script(`document.querySelector('.play-button').click()`) // the pointer has not moved
	next := v.site.nextBrain()
	if next.hello.Type != wire.MsgHello {
		v.Errorf("the page said %+v", next.hello)
	}
	v.site.serve(next, false)
	v.state("streaming")
}

// walkNothingToSpare rests on Play of an app with one seat: the page asks for nothing.
func walkNothingToSpare(v *visit) {
	v.open("/play/viewer")
	v.until(`nearcast.race?.leader === 'eu-central'`)
	v.untilText("Ready now")
	v.pointer(true)
	evaluate[bool](v, `new Promise((r) => setTimeout(r, 400, true))`) // four times as long as a pointer must rest
	if n := v.launches(); n != 0 {
		v.Errorf("%d launches before Play", n)
	}
	v.press(".play-button")
	b := v.site.nextBrain()
	if b.hello.Type != wire.MsgHello {
		v.Errorf("the page said %+v", b.hello)
	}
	v.site.serve(b, false)
	v.state("streaming")
}

// walkPreparedSigned prepares a signed app with its token.
func walkPreparedSigned(v *visit) {
	v.site.token = "good"
	v.spare()
	v.open("/play/viewer#token=good")
	v.until(`nearcast.race?.leader === 'eu-central'`)
	v.untilText("Ready now")
	v.pointer(true)
	if b := v.site.nextBrain(); b.hello.Type != wire.MsgPrepare {
		v.Errorf("the page said %+v", b.hello)
	}
}

// answerPaused is answer, with a picture that waits for Play.
func (s *site) answerPaused(b *brain, offer string) *seat {
	play := make(chan struct{})
	return s.answerWhen(b, offer, play)
}

// playing is what has been played since ever.
var playing = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// walkRestByKeyboard has the focus come to Play by the keyboard, and go.
func walkRestByKeyboard(v *visit) {
	b := v.restBy(func() {
		v.script(`document.activeElement.blur()`)
		v.keys("\t")
		for !evaluate[bool](v, `document.activeElement.classList.contains('play-button')`) {
			v.keys("\t")
		}
	})
	v.script(`document.activeElement.blur()`)
	b.hear(wire.MsgLeave)
	<-b.done
}

// walkRestByTouch has a finger stay on Play, and lift: the click comes, and Play takes what is there.
func walkRestByTouch(v *visit) {
	touch := func(kind input.DispatchTouchEventType, points ...*input.TouchPoint) {
		v.Helper()
		command(v, input.DispatchTouchEvent, input.DispatchTouchEventParams{Type: kind, TouchPoints: append([]*input.TouchPoint{}, points...)})
	}
	b := v.restBy(func() {
		at := evaluate[browser.Point](v, browser.Middle(`.play-button`))
		touch(input.DispatchTouchEventTypeTouchStart, &input.TouchPoint{X: at.X, Y: at.Y})
	})
	touch(input.DispatchTouchEventTypeTouchEnd)
	// A gesture of this length may be no click to the browser; the person's tap is.
	v.script(`document.querySelector('.play-button').click()`)
	b.hear(wire.MsgPlay)
	if n := v.launches(); n != 1 {
		v.Errorf("%d launches", n)
	}
}

// walkRestByEmbedder has the page that embeds this one say that Play is near, and is not.
func walkRestByEmbedder(v *visit) {
	b := v.restBy(func() { v.script(`window.postMessage({nearcast: 'prepare'}, '*')`) })
	v.script(`window.postMessage({nearcast: 'unprepare'}, '*')`)
	b.hear(wire.MsgLeave)
	<-b.done
}

// walkStill presses Play: the page stays as it is for a while, as the picture may come, and a
// second press does nothing. Then it says what it waits for.
func walkStill(v *visit) {
	v.open("/play/viewer")
	v.until(`nearcast.race?.leader === 'eu-central'`)
	v.script(`window.waitedAt = 0; new MutationObserver(() => {
		if (!waitedAt && document.querySelector('.player').dataset.screen === 'waiting') waitedAt = performance.timeOrigin + performance.now();
	}).observe(document.querySelector('.player'), {attributes: true})`)
	v.script(`const play = document.querySelector('.play-button'); window.pressed = performance.timeOrigin + performance.now(); play.click(); window.first = nearcast.playedAt; play.click()`)
	b := v.site.nextBrain()
	v.until(`waitedAt > 0`)
	if after := evaluate[float64](v, `waitedAt - pressed`); after < 399 {
		v.Errorf("another screen came %v ms after Play", after)
	}
	if !evaluate[bool](v, `first === nearcast.playedAt`) || v.launches() != 1 {
		v.Errorf("the second press counted: %d launches", v.launches())
	}
	v.site.serve(b, false)
	v.state("streaming")
}

// walkPlayStays has the page learn of the app and the sites while a person already aims at Play.
func walkPlayStays(v *visit) {
	planet := newPlanet(v.T, v.site.video, "eu-west-1", "us-east-1", "ap-northeast-1")
	v.site = planet[0]
	for name, size := range map[string][2]int64{"desktop": {1280, 800}, "phone": {390, 844}, "low": {800, 400}} {
		v.size(size[0], size[1])
		var before browser.Point
		func() {
			v.site.mu.Lock() // no answer comes
			defer v.site.mu.Unlock()
			v.open("/play/viewer")
			before = evaluate[browser.Point](v, browser.Middle(`.play-button`))
		}()
		v.until(`document.querySelector('h1').innerText === 'Model Viewer' && Object.keys(nearcast.race?.results ?? {}).length === 3 && !document.querySelector('.chip').hidden`)
		v.shot("ready-" + name)
		if after := evaluate[browser.Point](v, browser.Middle(`.play-button`)); after.Y != before.Y {
			v.Errorf("%s: Play went from %v to %v", name, before, after)
		}
	}
}
