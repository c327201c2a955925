package seat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// fakePage is the far end of a link: it answers asks, and keeps answers.
type fakePage struct {
	t     *testing.T
	has   map[wire.ClipKind][]byte
	got   chan []byte
	asked atomic.Int32
	out   chan []byte // answers, in order
}

// answers plays what the page sends into reply, until the test ends.
func (p *fakePage) answers(reply func(message []byte, text bool)) {
	p.out = make(chan []byte, clipWindowMost+1)
	var all sync.WaitGroup
	all.Go(func() {
		for chunk := range p.out {
			reply(chunk, false)
		}
	})
	p.t.Cleanup(func() {
		close(p.out)
		all.Wait()
	})
}

func (p *fakePage) heard(message []byte, text bool) {
	if !text {
		p.got <- message
		return
	}
	p.asked.Add(1)
	var a wire.ClipAsk
	if err := json.Unmarshal(message, &a); err != nil {
		p.t.Error(err)
	}
	p.out <- p.has[a.Kind][a.At : a.At+a.Size]
}

// readClip reads all of a kind, one chunk after the other.
func readClip(t *testing.T, c *Clip, kind wire.ClipKind) (all []byte, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		part, err := c.Read(ctx, kind, len(all))
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, part...)
	}
}

// far is a page that is some way off: what it sends takes time by the byte, one after the
// other, as on a thin line.
type far struct {
	delay   time.Duration
	rate    int // bytes a second
	free    time.Time
	link    *clipLink
	waiting atomic.Int32 // chunks on their way
	most    int
	lost    atomic.Bool // it does not answer any more
}

// heard is called by the link, which holds its lock.
func (f *far) heard(message []byte, _ bool) {
	if f.lost.Load() {
		return
	}
	var a wire.ClipAsk
	json.Unmarshal(message, &a)
	now := time.Now()
	if f.free.Before(now) {
		f.free = now
	}
	f.free = f.free.Add(time.Duration(a.Size) * time.Second / time.Duration(f.rate))
	f.most = max(f.most, int(f.waiting.Add(1)))
	time.AfterFunc(f.free.Sub(now)+f.delay, func() { f.link.heard(make([]byte, a.Size), false) })
	time.AfterFunc(f.free.Sub(now), func() { f.waiting.Add(-1) })
}

// The window follows the line: a fast one is used, and on a thin one no queue grows in which
// keys would wait.
func TestClipWindow(t *testing.T) {
	for name, c := range map[string]struct {
		rate  int
		delay time.Duration
		most  int           // chunks in the queue of the line
		all   time.Duration // for 8 MB
	}{
		"100 Mbit/s, 20 ms": {12_500_000, 20 * time.Millisecond, clipWindowMost, 1500 * time.Millisecond},
		"2 Mbit/s, 50 ms":   {250_000, 50 * time.Millisecond, 8, 40 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &far{delay: c.delay, rate: c.rate}
				f.link = newClipLink(f.heard)
				defer f.link.close()
				f.link.offered(wire.ClipOffer{ID: 1, PNG: wire.MaxClip})
				began := time.Now()
				for at := 0; at < wire.MaxClip; {
					part, err := f.link.read(t.Context(), 1, wire.ClipPNG, at)
					if err != nil {
						t.Fatal(err)
					}
					at += len(part)
				}
				took := time.Since(began)
				t.Logf("8 MB in %v, %d chunks at most in the line's queue (%v)", took, f.most, time.Duration(f.most*wire.MaxClipChunk)*time.Second/time.Duration(c.rate))
				if f.most > c.most {
					t.Errorf("%d chunks waited in the line's queue, want at most %d", f.most, c.most)
				}
				if took > c.all {
					t.Errorf("8 MB took %v, want %v", took, c.all)
				}
			})
		})
	}
}

// A page that stops to answer, that sends what nobody asked for, or less, ends its reader.
func TestClipLinkEnds(t *testing.T) {
	for name, end := range map[string]func(l *clipLink, f *far){
		"silence":          func(_ *clipLink, f *far) { f.lost.Store(true) },
		"closed":           func(l *clipLink, _ *far) { l.close() },
		"another offer":    func(l *clipLink, _ *far) { l.offered(wire.ClipOffer{ID: 2, HTML: 9}) },
		"too short":        func(l *clipLink, _ *far) { l.heard([]byte("short"), false) },
		"words":            func(l *clipLink, _ *far) { l.heard([]byte("{"), true) },
		"too long a chunk": func(l *clipLink, _ *far) { l.heard(make([]byte, wire.MaxClipChunk+1), false) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &far{delay: time.Millisecond, rate: 1 << 20}
				f.link = newClipLink(f.heard)
				defer f.link.close()
				f.link.offered(wire.ClipOffer{ID: 1, PNG: wire.MaxClip})
				if _, err := f.link.read(t.Context(), 1, wire.ClipPNG, 0); err != nil {
					t.Fatal(err)
				}
				end(f.link, f)
				began, at := time.Now(), 0
				for at < wire.MaxClip {
					part, err := f.link.read(t.Context(), 1, wire.ClipPNG, at)
					if err != nil {
						break
					}
					at += len(part)
				}
				if took := time.Since(began); at == wire.MaxClip || took > clipPatience+time.Second {
					t.Errorf("the reader got %d bytes in %v", at, took)
				}
			})
		})
	}
}

// Nothing that was not asked for is kept.
func TestUnaskedClips(t *testing.T) {
	l := newClipLink(func([]byte, bool) {})
	defer l.close()
	l.offered(wire.ClipOffer{ID: 1, PNG: 1 << 20})
	for range 1000 {
		l.heard(make([]byte, wire.MaxClipChunk), false)
	}
	if len(l.fetches) > 0 || l.err == nil {
		t.Errorf("the link has %d fetches, and ended with %v", len(l.fetches), l.err)
	}
}

// A peer that is discarded ends what reads of its page, also one that Play was never pressed on.
func TestDiscardedPeerEndsReads(t *testing.T) {
	l := newClipLink(func([]byte, bool) {})
	l.offered(wire.ClipOffer{ID: 1, PNG: 100})
	s := &stream{h: &streamHost{log: slog.New(slog.DiscardHandler)}}
	s.discard(&sessionPeer{Peer: &fakePeer{}, link: l})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := l.read(ctx, 1, wire.ClipPNG, 0); !errors.Is(err, errClipGone) {
		t.Errorf("a read of a page that is gone ends with %v", err)
	}
}

// FuzzClipLink has a page send anything, while a kind is read.
func FuzzClipLink(f *testing.F) {
	f.Add([]byte(`{"id":1,"kind":"png","at":0,"size":5}`), true)
	f.Add([]byte(`{"id":1,"kind":"html","at":-5,"size":8192}`), true)
	f.Add(bytes.Repeat([]byte("x"), 100), false)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, message []byte, text bool) {
		given := []byte("<b>given</b>")
		l := newClipLink(func(m []byte, asks bool) {
			if !asks && !bytes.Contains(given, m) {
				t.Errorf("%q got %q", message, m)
			}
		})
		defer l.close()
		l.give(map[wire.ClipKind][]byte{wire.ClipHTML: given})
		l.offered(wire.ClipOffer{ID: 1, PNG: 100})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		l.read(ctx, 1, wire.ClipPNG, 0)
		l.heard(message, text)
		l.heard(message, text)
		for _, f := range l.fetches {
			if len(f.data) > f.size {
				t.Errorf("%d bytes are held of %d", len(f.data), f.size)
			}
		}
	})
}
