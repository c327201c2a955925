package messages

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// wantKept waits until the box keeps so many messages for the page.
func (r *rig) wantKept(n int) {
	r.Helper()
	testkit.UntilSeen(r, fmt.Sprintf("%d messages are kept", n), func() (any, bool) {
		r.box.mu.Lock()
		defer r.box.mu.Unlock()
		return len(r.box.out), len(r.box.out) == n
	})
}

// A page that knows no number, as one in another tab, gets what no page has taken, and so does
// the first one when it comes back.
func TestPageWithoutNumber(t *testing.T) {
	r := newRig(t)
	app := r.connect("?receive=0")
	for i := range 5 {
		r.send(app, fmt.Sprint(i))
	}
	r.page("one", 0).open().wants("0", "1", "2", "3", "4")
	r.wantKept(0)
	two := r.page("two", 0).open().greeted()
	r.send(app, "5")
	two.wants("5")
	r.wantKept(0)
	one := r.page("one", 5).open().greeted()
	r.send(app, "6")
	one.wants("6")
	r.wantKept(0)
	if two.got != 6 || one.got != 7 {
		t.Errorf("the pages have %d and %d, want 6 and 7", two.got, one.got)
	}
}

// What has come to a page, and was not taken by it, does not come to it again, and is kept for
// one that is loaded again.
func TestComeAndNotTaken(t *testing.T) {
	r := newRig(t)
	app := r.connect("?receive=0")
	for i := range 4 {
		r.send(app, fmt.Sprint(i))
	}
	r.wantKept(4)
	slow := r.page("one", 0)
	slow.hush(true)
	slow.open()
	slow.wants("0", "1")
	testkit.Must(t, slow.say(wire.MessageFrame{Type: wire.FrameAck, Seq: 1, Chunks: 1}))
	slow.wants("0", "1", "2", "3")
	slow.at.Gone()
	if r.page("liar", 0).say(wire.MessageFrame{Type: wire.FrameHello, Page: "liar", Got: 1, Seq: 3}) == nil {
		t.Error("a page may have taken more than came to it")
	}
	again := r.page("one", 3)
	again.hush(true)
	testkit.Must(t, again.say(wire.MessageFrame{Type: wire.FrameHello, Page: "one", Got: 3, Seq: 1}))
	again.wants("3")
	r.wantKept(3)
	testkit.Must(t, again.say(wire.MessageFrame{Type: wire.FrameAck, Seq: 2}))
	r.wantKept(2)
	again.at.Gone()
	r.page("two", 2).open().wants("2", "3")
	r.wantKept(0)
}

// A connection that does not confirm a message is ended, and the next one gets it.
func TestNoPong(t *testing.T) {
	r := newRig(t)
	r.box.mu.Lock()
	r.box.pongWithin = 100 * time.Millisecond
	r.box.mu.Unlock()
	p := r.page("p", 0).open().greeted()
	mute := r.connect("?receive=1")
	testkit.Must(t, p.send("1", false))
	if got := r.read(mute); got != "1" { // and then it reads no more
		t.Fatalf("got %s", got)
	}
	if got := r.read(r.connect("?receive=1")); got != "1" {
		t.Errorf("the next connection got %s", got)
	}
}

// What the app sent before it ended comes to the page, also what waited for room.
func TestFlush(t *testing.T) {
	r := newRig(t)
	p := r.page("p", 0)
	p.hush(true)
	p.open().greeted()
	put := func(m string, tick chan time.Time) chan error {
		done := make(chan error, 1)
		go func() { done <- r.box.put(message{data: []byte(m)}, tick, func() bool { return true }) }()
		return done
	}
	var want []string
	for i := range wire.MaxMessagesOpen {
		testkit.Must(t, <-put(fmt.Sprint(i), nil))
		want = append(want, fmt.Sprint(i))
	}
	puts := func(n int) {
		t.Helper()
		testkit.UntilSeen(t, fmt.Sprintf("%d wait for room", n), func() (any, bool) {
			r.box.mu.Lock()
			defer r.box.mu.Unlock()
			return r.box.putting, r.box.putting == n
		})
	}
	tick := make(chan time.Time)
	lost := put(`"of one that is gone"`, tick)
	tick <- time.Now()
	if err := <-lost; err != errGone {
		t.Errorf("one that is gone: %v", err)
	}
	puts(0)
	last := put(`"last"`, tick)
	puts(1)
	r.box.mu.Lock()
	out := r.box.out
	r.box.out = nil // as in the moment when the page has taken all
	if r.box.flushed() {
		t.Error("what waits for room is not waited for")
	}
	r.box.out = out
	r.box.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	flushed := make(chan struct{})
	go func() {
		defer close(flushed)
		r.box.Flush(ctx)
	}()
	testkit.Until(t, "the box is flushed", r.box.isFlushing)
	for range 2 { // it was asked, and waits on
		select {
		case tick <- time.Now():
		case err := <-last:
			t.Fatalf("what waits for room is given up: %v", err)
		}
	}
	p.hush(false)
	testkit.Must(t, p.say(wire.MessageFrame{Type: wire.FrameAck, Seq: 2, Chunks: 2}))
	<-flushed
	p.wants(append(want, `"last"`)...)
	testkit.Must(t, <-last)
	if r.box.isFlushing() {
		t.Error("the flush does not end")
	}
	// There is nothing left to do for a page that is gone.
	p.hush(true)
	testkit.Must(t, <-put("1", nil))
	p.at.Gone()
	r.box.Flush(ctx)
	if ctx.Err() != nil {
		t.Error("the flush waited for a page that is gone")
	}
}
