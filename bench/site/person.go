package main

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/wire"
)

// How serving a person may stand.
const (
	stateComing  = "coming"  // on the way to a brain
	stateWaiting = "waiting" // told that they wait
	stateGranted = "granted" // has a seat
	stateRefused = "refused" // told that they cannot be served
	stateEnded   = "ended"   // the session is over
	stateBusy    = "busy"    // told that the brain takes in nobody now
	stateLost    = "lost"    // no answer at all
)

// person is a browser's end: the same requests and messages as the page's, from an address
// and a network of their own.
type person struct {
	site *site
	n    int
	app  string
	// play says that they want a picture, so their seat streams; else they come for the
	// grant alone.
	play bool
	// stay says that they come back when their socket is lost, as the page does.
	stay bool
	// routed says that they launch at a router. Else the benchmark signs their ticket.
	routed bool
	// onGrant is called once, when they have a seat.
	onGrant func()

	mu      sync.Mutex
	known   seen
	resume  string
	token   string
	expires time.Time
	ws      *websocket.Conn
}

// seen is what is known of a person.
type seen struct {
	n        int
	app      string
	state    string
	asked    time.Time // before the launch
	launched time.Time // when the ticket was there
	heard    time.Time // when a brain said something first
	granted  time.Time
	back     time.Time // when a brain served them again after their socket was lost
	position int
	seat     string
	session  string
	why      string // refused or ended
	brain    string // URL
	grants   int    // that began a session
	told     int    // messages from a brain while waiting
}

func (p *person) set(state, why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known.state, p.known.why = state, why
}

// view is a copy of what is known of the person.
func (p *person) view() seen {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known
}

// run plays until ctx ends or the session is over.
func (p *person) run(ctx context.Context) {
	ctx = context.WithValue(ctx, fromKey{}, p.address())
	p.set(stateComing, "")
	if err := p.launch(ctx); err != nil {
		p.set(stateLost, err.Error())
		return
	}
	for try := 0; ctx.Err() == nil; try++ {
		again, served := p.connect(ctx)
		if !again || !p.stay {
			return
		}
		if served {
			try = 0
		}
		// The page waits so long, and each brain has one URL here: another one is tried.
		if !pause(ctx.Done(), min(100*time.Millisecond<<min(try, 5), 2*time.Second)+rand.N(100*time.Millisecond)) {
			return
		}
		p.mu.Lock()
		p.known.brain = p.site.brainFor(p.n+try, p.known.brain)
		p.mu.Unlock()
	}
}

// connect serves one socket. again says that the person should come back.
func (p *person) connect(ctx context.Context) (again, served bool) {
	p.mu.Lock()
	hello := wire.Message{Type: wire.MsgHello, Ticket: p.token}
	if p.resume != "" {
		hello.Ticket, hello.Resume = "", p.resume
	} else if time.Until(p.expires) < 20*time.Second {
		p.renew()
		hello.Ticket = p.token
	}
	brain, left := p.known.brain, time.Until(p.expires)
	p.mu.Unlock()
	if p.play {
		hello.SDP = "offer"
	}
	dial, cancel := context.WithTimeout(ctx, 10*time.Second)
	ws, resp, err := websocket.Dial(dial, brain, &websocket.DialOptions{HTTPClient: &http.Client{Transport: p.site.outside}})
	cancel()
	if err != nil {
		switch {
		case p.resume != "":
		case resp != nil && resp.StatusCode == http.StatusServiceUnavailable:
			p.set(stateBusy, "")
		default:
			p.set(stateLost, "connect: "+err.Error())
		}
		return true, false
	}
	defer ws.CloseNow()
	p.mu.Lock()
	p.ws = ws
	p.mu.Unlock()
	if write(ctx, ws, hello) != nil {
		return true, false
	}
	renewals := time.AfterFunc(left-15*time.Second, func() { p.renewOn(ctx, ws) })
	defer renewals.Stop()
	for {
		_, data, err := ws.Read(ctx)
		if err != nil {
			return ctx.Err() == nil, served
		}
		var m wire.Message
		if json.Unmarshal(data, &m) != nil {
			return false, served
		}
		served = true
		if p.hear(m) {
			return m.Type == wire.MsgRefused && m.Problem.Status == http.StatusServiceUnavailable, served
		}
	}
}

// hear takes a message. It reports true for the last one.
func (p *person) hear(m wire.Message) (last bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.known.heard.IsZero() {
		p.known.heard = now
	}
	if p.known.back.IsZero() {
		p.known.back = now
	}
	switch m.Type {
	case wire.MsgQueued:
		p.known.state, p.known.position = stateWaiting, m.Queue.Position
		p.known.told++
	case wire.MsgStarting:
		p.known.state = stateWaiting
		p.known.told++
	case wire.MsgGranted:
		if !m.Grant.Resumed {
			p.known.grants++
			p.known.granted = time.Now()
			if p.onGrant != nil {
				p.onGrant()
			}
		}
		p.known.state, p.known.seat, p.resume = stateGranted, m.Grant.Seat, m.Grant.Resume
	case wire.MsgAnswer:
		p.site.seats.picture(p.known.session)
	case wire.MsgRefused:
		p.known.state, p.known.why = stateRefused, m.Problem.Error()
		return true
	case wire.MsgEnded:
		p.known.state, p.known.why = stateEnded, m.End.String()
		return true
	}
	return false
}

// goodbye ends the session, as the page's button does.
func (p *person) goodbye(ctx context.Context) {
	p.mu.Lock()
	ws := p.ws
	p.mu.Unlock()
	if ws != nil {
		_ = write(ctx, ws, wire.Message{Type: wire.MsgLeave}) // a socket that is gone shows when it is read
	}
}

// lose forgets when the person was served last.
func (p *person) lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known.back = time.Time{}
}

func write(ctx context.Context, ws *websocket.Conn, m wire.Message) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return ws.Write(ctx, websocket.MessageText, data)
}
