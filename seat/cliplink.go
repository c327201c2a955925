package seat

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// clipWindow is the least and the most of chunks that are asked for and did not come yet.
	clipWindowLeast, clipWindowMost = 2, 64
	// clipLate is by how much answers may be later than the fastest: what comes later waits in
	// a queue of the network, where a person's keys wait too.
	clipLate = 40 * time.Millisecond
	// clipPatience is how long an answer may take.
	clipPatience = 20 * time.Second
	// maxFetches is how many kinds of offers are remembered.
	maxFetches = 3
)

var errClipGone = errors.New("the person's clipboard has changed, or their page is gone")

// clipLink is a page's wire.ChannelClip: it answers what the page asks for, and fetches what
// the page offered, when somebody reads it. It holds at most what wire.MaxClip allows of
// each kind and direction.
type clipLink struct {
	tell func(message []byte, text bool)

	mu      sync.Mutex
	given   map[wire.ClipKind][]byte // what the page may ask for
	givenID uint32

	offer   wire.ClipOffer // what the page offered last
	fetches []*clipFetch   // of this offer; the first that is not complete is being fetched
	asks    []clipAsked    // without an answer yet, in order; also of former offers
	window  int
	fastest time.Duration // of the answers
	timer   *time.Timer   // runs while an answer is owed
	err     error         // of the link
}

// clipFetch is one kind of an offer.
type clipFetch struct {
	kind    wire.ClipKind
	size    int
	asked   int
	data    []byte
	err     error
	changed chan struct{} // is closed when data or err change
}

// clipAsked is a chunk that was asked for. f is nil where nobody wants it any more.
type clipAsked struct {
	f    *clipFetch
	size int
	at   time.Time
}

func newClipLink(tell func(message []byte, text bool)) *clipLink {
	l := &clipLink{tell: tell}
	l.timer = time.AfterFunc(time.Hour, func() { l.fail(errors.New("the page does not send what it offered")) })
	l.timer.Stop()
	return l
}

// give makes these what the page may ask for, and returns how they are offered.
func (l *clipLink) give(kinds map[wire.ClipKind][]byte) *wire.ClipOffer {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.givenID++
	l.given = kinds
	return &wire.ClipOffer{ID: l.givenID, Text: len(kinds[wire.ClipText]), HTML: len(kinds[wire.ClipHTML]), PNG: len(kinds[wire.ClipPNG])}
}

// offered makes an offer of the page the one that reads are of.
func (l *clipLink) offered(o wire.ClipOffer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(errClipGone)
	l.offer = o
	l.window, l.fastest = clipWindowLeast, 0
}

// forget ends all fetches. The caller holds l.mu.
func (l *clipLink) forget(err error) {
	for _, f := range l.fetches {
		f.end(err)
	}
	l.fetches = nil
	for i := range l.asks {
		l.asks[i].f = nil
	}
}

// end ends a fetch that is not complete.
func (f *clipFetch) end(err error) {
	if f.err == nil && len(f.data) < f.size {
		f.err, f.data = err, nil
		close(f.changed)
	}
}

// fail ends the link.
func (l *clipLink) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
	l.forget(err)
	l.given, l.asks = nil, nil
	l.timer.Stop()
}

func (l *clipLink) close() { l.fail(errClipGone) }

// read gives the bytes of a kind of an offer from a place on that have come. It waits
// for the first of them; at the end it is io.EOF.
func (l *clipLink) read(ctx context.Context, id uint32, kind wire.ClipKind, at int) ([]byte, error) {
	for {
		l.mu.Lock()
		f, err := l.fetch(id, kind)
		if err == nil {
			err = f.err
		}
		if err != nil {
			l.mu.Unlock()
			return nil, err
		}
		data, changed := f.data, f.changed
		l.mu.Unlock()
		switch {
		case at < len(data):
			return data[at:len(data):len(data)], nil
		case at >= f.size:
			return nil, io.EOF
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// fetch is that of a kind, which it begins. The caller holds l.mu.
func (l *clipLink) fetch(id uint32, kind wire.ClipKind) (*clipFetch, error) {
	if l.err != nil {
		return nil, l.err
	}
	if id != l.offer.ID {
		return nil, errClipGone
	}
	for _, f := range l.fetches {
		if f.kind == kind {
			return f, nil
		}
	}
	f := &clipFetch{kind: kind, size: l.offer.Size(kind), changed: make(chan struct{})}
	if f.size == 0 || len(l.fetches) == maxFetches {
		return nil, errClipGone
	}
	l.fetches = append(l.fetches, f)
	l.ask()
	return f, nil
}

// ask asks for as many chunks as may be on their way. The caller holds l.mu.
func (l *clipLink) ask() {
	for len(l.asks) < l.window {
		next := slices.IndexFunc(l.fetches, func(f *clipFetch) bool { return f.err == nil && f.asked < f.size })
		if next < 0 {
			break
		}
		f := l.fetches[next]
		size := min(wire.MaxClipChunk, f.size-f.asked)
		raw, err := json.Marshal(wire.ClipAsk{ID: l.offer.ID, Kind: f.kind, At: f.asked, Size: size})
		if err != nil {
			return
		}
		l.tell(raw, true)
		f.asked += size
		l.asks = append(l.asks, clipAsked{f, size, time.Now()})
		if len(l.asks) == 1 {
			l.timer.Reset(clipPatience)
		}
	}
}

// heard takes a message of the page. One that should not be there ends the link.
func (l *clipLink) heard(message []byte, text bool) {
	if text {
		var a wire.ClipAsk
		if json.Unmarshal(message, &a) != nil {
			l.fail(errors.New("the page asks for a clipboard in words that mean nothing"))
			return
		}
		l.tell(l.answer(a), false)
		return
	}
	if err := l.took(message); err != nil {
		l.fail(err)
	}
}

// answer is the chunk that the page asks for, and empty where it is not to be had.
func (l *clipLink) answer(a wire.ClipAsk) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	data := l.given[a.Kind]
	if a.ID != l.givenID || a.Size <= 0 || a.Size > wire.MaxClipChunk || a.At < 0 || a.At > len(data)-a.Size {
		return nil
	}
	return data[a.At : a.At+a.Size]
}

// took takes the answer to the first ask.
func (l *clipLink) took(chunk []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.asks) == 0 {
		return errors.New("the page sends what nobody asked for")
	}
	a := l.asks[0]
	l.asks = l.asks[1:]
	if len(l.asks) > 0 {
		l.timer.Reset(clipPatience)
	} else {
		l.timer.Stop()
	}
	switch {
	case a.f == nil || a.f.err != nil:
	case len(chunk) != a.size:
		a.f.end(errClipGone)
	default:
		a.f.data = append(a.f.data, chunk...)
		close(a.f.changed)
		a.f.changed = make(chan struct{})
	}
	l.pace(time.Since(a.at))
	l.ask()
	return nil
}

// pace sets the window by how long an answer took: a queue is left to drain.
func (l *clipLink) pace(took time.Duration) {
	if l.fastest == 0 || took < l.fastest {
		l.fastest = took
	}
	if took > l.fastest+clipLate {
		l.window = max(clipWindowLeast, l.window-1)
	} else {
		l.window = min(clipWindowMost, l.window+1)
	}
}
