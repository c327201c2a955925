// Package messages carries what a person's page and the app of a seat say to each other.
//
//	b := messages.Open(messages.Config{Listener: l}) // l listens on the cell's loopback
//	… // the app starts, with b.Env()
//	page := b.Page(tell)            // of each new connection with a browser
//	err := page.Heard(frame, true)  // what came on wire.ChannelMessages
//	page.Gone()
//	…
//	b.Close()
//
// The app connects by WebSocket to the URL in wire.MessagesEnv. Each WebSocket message is a
// message, in both directions: JSON as text, bytes as binary. All connections of the app get
// each message of the page, and each may send. A connection with wire.ReceiveQuery gets only
// so many, and each has to be confirmed within 30 s by the answer to a ping, so that a script
// that ends loses none. A pong to a ping of the app says that all before it was taken from it.
//
// A Box keeps wire.MaxMessagesOpen messages of wire.MaxMessageBytesOpen together for each
// direction. What the app sends waits there until a page has taken it, also before there is a
// person; then the app's connections are not read any more. What the page sends waits until a
// connection of the app has taken it; until then the page may not send more. The slowest of
// the app's connections counts. The page's end is in internal/wire/messages.go.
//
// Both are hostile. A page that breaks the rules loses its channel, an app its connection. The
// URL has a secret, so that of the programs on the same loopback only those speak here that
// have the app's environment: without a cell there may be others, and in one a browser that
// shows a stranger's page.
package messages

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/nearcast/nearcast/internal/wire"
)

var errClosed = errors.New("the seat has ended")

// message is one of the page's or the app's.
type message struct {
	data  []byte
	bytes bool // not JSON
}

// isJSON reports whether data is JSON in UTF-8. json.Valid takes any bytes within a string;
// clients refuse a WebSocket's text that has them.
func isJSON(data []byte) bool { return utf8.Valid(data) && json.Valid(data) }

// Box is where messages wait. Its methods are safe for concurrent use.
type Box struct {
	log     *slog.Logger
	server  *server
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup

	ready, quit         chan struct{}
	readyOnce, quitOnce sync.Once

	mu      sync.Mutex
	changed chan struct{} // is closed, and made anew, when what follows changes
	page    *Page         // that said hello last
	// out are messages for the page that it has not taken; outFirst is the number of the first.
	out      []message
	outFirst uint64
	outBytes int
	// in are messages for the app.
	in      []incoming
	inBytes int
	pages   []*world // the latest last
	clients map[*client]struct{}
	putting int // calls of put
	flushes int // calls of Flush
	closed  bool

	pongWithin time.Duration
}

// incoming is a message of a page, with its number.
type incoming struct {
	message
	of  *world
	seq uint64
}

// world is a page between two loads: it numbers its messages from 1.
type world struct {
	id         string
	got, taken uint64 // the last message that has come whole, and that the app has
}

// maxWorlds is of how many pages the numbers are remembered.
const maxWorlds = 8

// Open serves the app. It takes the listener.
func Open(cfg Config) *Box {
	b := &Box{
		log: cfg.Log, ready: make(chan struct{}), quit: make(chan struct{}), changed: make(chan struct{}),
		outFirst: 1, clients: map[*client]struct{}{}, pongWithin: pongWithin,
	}
	if b.log == nil {
		b.log = slog.Default()
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.server = serve(b, cfg.Listener)
	b.running.Go(b.deliver)
	return b
}

// Ready is closed when the app has said that it is presentable, Quit when it wants the session
// to end.
func (b *Box) Ready() <-chan struct{} { return b.ready }
func (b *Box) Quit() <-chan struct{}  { return b.quit }

// Close ends all connections of the app, and forgets what waits.
func (b *Box) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.cancel()
	err := b.server.close()
	b.running.Wait()
	return err
}

// wake tells those who wait that something changed. The caller holds b.mu.
func (b *Box) wake() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// Flush returns when the page has taken what came from the app, or there is no page, or ctx ends.
func (b *Box) Flush(ctx context.Context) {
	b.flushing(1)
	defer b.flushing(-1)
	for {
		b.mu.Lock()
		flushed, changed := b.flushed(), b.changed
		b.mu.Unlock()
		if flushed {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		case <-b.ctx.Done():
			return
		}
	}
}

// flushed reports whether Flush has nothing to wait for. The caller holds b.mu.
func (b *Box) flushed() bool { return b.page == nil || len(b.out)+b.putting == 0 }

func (b *Box) flushing(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.flushes += n
}

func (b *Box) isFlushing() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.flushes > 0
}

// put keeps a message of the app for the page, when there is room. It gives up when gone
// says so, which it is asked at each tick, but not during Flush: an app that has ended is gone.
func (b *Box) put(m message, tick <-chan time.Time, gone func() bool) error {
	b.mu.Lock()
	b.putting++
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		b.putting--
		b.wake() // Flush
		b.mu.Unlock()
	}()
	for {
		b.mu.Lock()
		if len(b.out) < wire.MaxMessagesOpen && b.outBytes+len(m.data) <= wire.MaxMessageBytesOpen {
			b.out = append(b.out, m)
			b.outBytes += len(m.data)
			if b.page != nil {
				b.page.send()
			}
			b.mu.Unlock()
			return nil
		}
		changed := b.changed
		b.mu.Unlock()
		select {
		case <-changed:
		case <-tick:
			if !b.isFlushing() && gone() {
				return errGone
			}
		case <-b.ctx.Done():
			return errClosed
		}
	}
}

// took forgets the messages up to a number: the page has them. The caller holds b.mu.
func (b *Box) took(seq uint64) {
	before := len(b.out)
	for len(b.out) > 0 && b.outFirst <= seq {
		b.outBytes -= len(b.out[0].data)
		b.out[0] = message{}
		b.out = b.out[1:]
		b.outFirst++
	}
	if len(b.out) < before {
		b.wake()
	}
}

// worldOf is the page with this name. The caller holds b.mu.
func (b *Box) worldOf(id string) *world {
	w := &world{id: id}
	for i, known := range b.pages {
		if known.id == id {
			w = known
			b.pages = append(b.pages[:i:i], b.pages[i+1:]...)
			break
		}
	}
	if len(b.pages) == maxWorlds {
		b.pages = b.pages[1:]
	}
	b.pages = append(b.pages, w)
	return w
}

// deliver gives the messages of the page to the app, one after the other.
func (b *Box) deliver() {
	for {
		m, to, err := b.next()
		if err != nil {
			return
		}
		given := make(chan bool, len(to))
		for _, c := range to {
			b.running.Go(func() { given <- b.give(c, m) })
		}
		taken := false
		for range to {
			taken = <-given || taken
		}
		if taken {
			b.appTook()
		}
	}
}

// next waits for a message, and for connections that take it.
func (b *Box) next() (message, []*client, error) {
	for {
		b.mu.Lock()
		var to []*client
		for c := range b.clients {
			if c.left != 0 {
				to = append(to, c)
			}
		}
		changed := b.changed
		if len(b.in) > 0 && len(to) > 0 {
			m := b.in[0].message
			b.mu.Unlock()
			return m, to, nil
		}
		b.mu.Unlock()
		select {
		case <-changed:
		case <-b.ctx.Done():
			return message{}, nil, errClosed
		}
	}
}

// appTook forgets the first message of the page: the app has it.
func (b *Box) appTook() {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.in[0]
	b.in[0] = incoming{}
	b.in = b.in[1:]
	b.inBytes -= len(m.data)
	m.of.taken = m.seq
	if p := b.page; p != nil {
		if p.of == m.of && p.greeted {
			p.ack()
		}
		p.greet()
	}
}
