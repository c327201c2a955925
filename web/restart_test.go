package web_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// restart is the answer to an offer that keeps the connection.
func (st *seat) restart(v testing.TB, offer string) wire.Message {
	v.Helper()
	testkit.Must(v, st.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}))
	answer, err := st.pc.CreateAnswer(nil)
	testkit.Must(v, err)
	gathered := webrtc.GatheringCompletePromise(st.pc)
	testkit.Must(v, st.pc.SetLocalDescription(answer))
	<-gathered
	return wire.Message{Type: wire.MsgAnswer, SDP: st.pc.LocalDescription().SDP, Restart: true}
}

// backAgain waits until the page asks for another way through a new socket, and grants it.
func (s *site) backAgain() *brain {
	s.t.Helper()
	b := s.nextBrain()
	if b.hello.Resume != "resume" || !b.hello.Restart || b.hello.SDP == "" {
		s.t.Errorf("hello = %+v, want resume and an offer that restarts ICE", b.hello)
	}
	b.say(wire.Message{Type: wire.MsgGranted, Grant: s.grant(true)})
	return b
}

// The person's address changes: nothing comes through any more on the way that there was,
// nor by the socket. The page finds another one, and the person sees no more than a
// picture that stands for a moment.
func walkAddressChanges(v *visit) {
	_, st := v.play()
	var b *brain
	v.until(`nearcast.stats().then((s) => s.pingMS > 0)`)
	v.script(`window.seen = []; new MutationObserver(() => seen.push(document.querySelector('.player').dataset.phase)).observe(document.querySelector('.player'), {attributes: true}); window.track = document.querySelector('video').srcObject`)
	for round := range 2 {
		then := evaluate[float64](v, `document.querySelector('video').currentTime`)
		st.line.forget()
		changed := time.Now()
		b = v.site.backAgain()
		asked := time.Since(changed)
		b.say(st.restart(v, b.hello.SDP))
		v.until(fmt.Sprintf(`document.querySelector('video').currentTime > %f + 0.5`, then))
		v.until(fmt.Sprintf(`nearcast.restarts.length === %d`, round+1))
		v.Logf("asked for another way after %v, packets came %v ms after the doubt", asked, evaluate[[]float64](v, `nearcast.restarts`))
	}
	v.until(`seen.every((phase) => phase === 'streaming') && document.querySelector('video').srcObject === track && !document.querySelector('.still.shown')`)
	v.script(`window.dispatchEvent(new Event('blur'))`)
	v.site.wantInput("input on the new way", func(in wire.Input) bool { return in.Type == wire.InputBlur })

	// A seat that cannot keep its end says so: the page makes a new connection at once.
	st.line.forget()
	b = v.site.backAgain()
	b.say(wire.Message{Type: wire.MsgAnswer})
	offer := b.hear(wire.MsgOffer)
	if offer.Restart || offer.SDP == "" {
		v.Errorf("offer = %+v, want one of a new connection", offer)
	}
	v.site.answer(b, offer.SDP)
	v.state("streaming")
}

// The old way works again while the page asks for another one. The seat leaves it all the same
// when it gets the offer: its answer leads to the new way, without a second search.
func walkHealsMeanwhile(v *visit) {
	_, st := v.play()
	v.until(`nearcast.stats().then((s) => s.pingMS > 0)`)
	st.line.cut.Store(true)
	b := v.site.backAgain()
	st.line.cut.Store(false)
	v.until(`nearcast.restarts.length === 1`) // packets come, and the search is over
	then := evaluate[float64](v, `document.querySelector('video').currentTime`)
	b.say(st.restart(v, b.hello.SDP))
	v.until(fmt.Sprintf(`document.querySelector('video').currentTime > %f + 2`, then))
	select {
	case b := <-v.site.brains:
		v.Errorf("the page came with %+v", b.hello)
	default:
	}
	v.state("streaming")
}

// A line that is silent for a moment is the same line afterwards: no seat is asked for
// anything.
func walkSilentMoment(v *visit) {
	_, st := v.play()
	v.until(`nearcast.stats().then((s) => s.pingMS > 0)`)
	v.site.plug.pulled.Store(true)
	st.line.cut.Store(true)
	v.until(`performance.now() > (window.since ??= performance.now()) + 1500`)
	st.line.cut.Store(false)
	v.until(`nearcast.stats().then((s) => s.fps > 5)`)
	v.site.plug.pulled.Store(false)
	v.until(`performance.now() > (window.healed ??= performance.now()) + 1500`)
	select {
	case b := <-v.site.brains:
		v.Errorf("the page came with %+v", b.hello)
	default:
	}
	v.state("streaming")
}

// The way is cut for a moment, and the old socket still leads to the seat: the page waits for the way, whose
// pictures are back at once. A restart of ICE would leave it.
func walkCutForAMoment(v *visit) {
	b, st := v.play()
	v.until(`nearcast.stats().then((s) => s.pingMS > 0)`)
	st.line.cut.Store(true)
	pongs, over := 0, time.After(1500*time.Millisecond)
	for cut := true; cut; {
		select {
		case m := <-b.in:
			if m.Type == wire.MsgPing {
				pongs++
				b.say(wire.Message{Type: wire.MsgPong})
			}
		case b := <-v.site.brains:
			v.Fatalf("the page came with %+v", b.hello)
		case <-over:
			cut = false
		}
	}
	v.script(`document.querySelector('video').requestVideoFrameCallback(() => { window.moves = true; })`)
	st.line.cut.Store(false)
	healed := time.Now()
	v.until(`window.moves`)
	v.Logf("%d pongs; the picture moves %v after the cut", pongs, time.Since(healed))
	if pongs == 0 {
		v.Error("the page did not ask by the old socket")
	}
	v.until(`nearcast.stats().then((s) => s.fps > 5)`)
	select {
	case b := <-v.site.brains:
		v.Errorf("the page came with %+v", b.hello)
	default:
	}
	v.state("streaming")
}
