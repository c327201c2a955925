package messages

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// windowLeast is the least of chunks that may be on their way.
	windowLeast = 2
	// late is by how much an answer may be later than the fastest: what comes later waits in a
	// queue of the network, where a person's keys wait too.
	late = 40 * time.Millisecond
)

// Page is the channel of one connection with a browser. The box's mutex guards it.
type Page struct {
	box  *Box
	tell func(message []byte, text bool)
	err  error

	of      *world // nil before its hello
	greeted bool   // it was told that it may send

	next    uint64 // number of the message that is sent now
	headed  bool   // its frame was sent
	at      int    // and so many bytes
	open    []time.Time
	acked   uint64 // chunks
	window  int
	fastest time.Duration

	head   *wire.MessageFrame // of the message that comes now
	data   []byte
	chunks uint64
}

// Page is the channel of a new connection. tell sends a message on it, as a text or as bytes;
// it must not block.
func (b *Box) Page(tell func(message []byte, text bool)) *Page {
	return &Page{box: b, tell: tell, window: windowLeast}
}

// Gone says that the connection has ended. What waits stays.
func (p *Page) Gone() {
	p.box.mu.Lock()
	defer p.box.mu.Unlock()
	p.fail(errors.New("the connection has ended"))
}

// Heard takes a message of the channel. After an error the page breaks the rules: its channel
// is of no use any more, and the caller closes it.
func (p *Page) Heard(frame []byte, text bool) error {
	p.box.mu.Lock()
	defer p.box.mu.Unlock()
	if p.err != nil {
		return p.err
	}
	var err error
	if text {
		var f wire.MessageFrame
		if f, err = wire.ParseMessageFrame(frame); err == nil {
			err = p.frame(f)
		}
	} else {
		err = p.chunk(frame)
	}
	if err != nil {
		p.fail(err)
	}
	return err
}

func (p *Page) fail(err error) {
	p.err, p.data, p.head = err, nil, nil
	if p.box.page == p {
		p.box.page = nil
		p.box.wake() // Flush need not wait
	}
}

func (p *Page) frame(f wire.MessageFrame) error {
	switch {
	case f.Type == wire.FrameHello:
		return p.hello(f)
	case p.box.page != p:
		return errors.New("the page has not said hello, or another one came after it")
	case f.Type == wire.FrameAck:
		return p.answered(f)
	}
	return p.begin(f)
}

func (p *Page) hello(f wire.MessageFrame) error {
	b := p.box
	if p.of != nil || f.Page == "" {
		return errors.New("the page says hello again, or without a name")
	}
	if f.Got >= b.outFirst+uint64(len(b.out)) || f.Seq > f.Got {
		return fmt.Errorf("the page has message %d and has taken %d, of %d", f.Got, f.Seq, b.outFirst+uint64(len(b.out))-1)
	}
	p.of, b.page = b.worldOf(f.Page), p
	b.took(f.Seq)
	p.next = max(b.outFirst, f.Got+1) // an earlier page may have taken more
	p.greet()
	p.send()
	return nil
}

// greet tells the page that it may send, when what an earlier page sent has been taken: all
// of them together may have no more waiting than one.
func (p *Page) greet() {
	if p.greeted || slices.ContainsFunc(p.box.in, func(m incoming) bool { return m.of != p.of }) {
		return
	}
	p.greeted = true
	p.say(wire.MessageFrame{Type: wire.FrameHello, Got: p.of.got, Seq: p.of.taken})
}

func (p *Page) say(f wire.MessageFrame) {
	if raw, err := json.Marshal(f); err == nil {
		p.tell(raw, true)
	}
}

func (p *Page) ack() {
	p.say(wire.MessageFrame{Type: wire.FrameAck, Seq: p.of.taken, Chunks: p.chunks})
}

// begin takes the frame of a message of the page.
func (p *Page) begin(f wire.MessageFrame) error {
	b := p.box
	switch {
	case !p.greeted:
		return errors.New("the page sends before it may")
	case p.head != nil:
		return errors.New("the page begins a message within another")
	case f.Seq != p.of.got+1:
		return fmt.Errorf("the page sends message %d after %d", f.Seq, p.of.got)
	case len(b.in) >= wire.MaxMessagesOpen || b.inBytes+f.Size > wire.MaxMessageBytesOpen:
		return errors.New("the page sends more than it may before the app has taken it")
	}
	p.head, p.data = &f, make([]byte, 0, f.Size)
	return p.complete()
}

func (p *Page) chunk(data []byte) error {
	if p.box.page != p || p.head == nil || len(data) != min(wire.MaxMessageChunk, p.head.Size-len(p.data)) {
		return fmt.Errorf("the page sends %d bytes of no message", len(data))
	}
	p.data = append(p.data, data...)
	p.chunks++
	err := p.complete()
	if err == nil {
		p.ack()
	}
	return err
}

// complete keeps the message that comes for the app, if it has come whole.
func (p *Page) complete() error {
	if len(p.data) < p.head.Size {
		return nil
	}
	m := incoming{message{p.data, p.head.Bytes}, p.of, p.head.Seq}
	p.head, p.data = nil, nil
	if !m.bytes && !isJSON(m.data) {
		return fmt.Errorf("message %d of the page is no JSON", m.seq)
	}
	p.of.got = m.seq
	p.box.in = append(p.box.in, m)
	p.box.inBytes += len(m.data)
	p.box.wake()
	return nil
}

// answered takes the page's word of what has come.
func (p *Page) answered(f wire.MessageFrame) error {
	n := f.Chunks - p.acked
	if f.Chunks < p.acked || n > uint64(len(p.open)) || f.Seq >= p.next {
		return errors.New("the page confirms what was not sent")
	}
	for _, at := range p.open[:n] {
		p.pace(time.Since(at))
	}
	p.open, p.acked = slices.Delete(p.open, 0, int(n)), f.Chunks
	p.box.took(f.Seq)
	p.send()
	return nil
}

// pace sets the window by how long an answer took: a queue is left to drain.
func (p *Page) pace(took time.Duration) {
	if p.fastest == 0 || took < p.fastest {
		p.fastest = took
	}
	if took > p.fastest+late {
		p.window = max(windowLeast, p.window-1)
	} else {
		p.window = min(wire.MaxChunksOpen, p.window+1)
	}
}

// send sends as many chunks as may be on their way.
func (p *Page) send() {
	for b := p.box; len(p.open) < p.window; {
		i := p.next - b.outFirst
		if i >= uint64(len(b.out)) {
			return
		}
		m := b.out[i]
		if !p.headed {
			p.headed = true
			p.say(wire.MessageFrame{Type: wire.FrameMessage, Seq: p.next, Size: len(m.data), Bytes: m.bytes})
		}
		if n := min(wire.MaxMessageChunk, len(m.data)-p.at); n > 0 {
			p.tell(m.data[p.at:p.at+n], false)
			p.at += n
			p.open = append(p.open, time.Now())
		}
		if p.at == len(m.data) {
			p.next, p.at, p.headed = p.next+1, 0, false
		}
	}
}
