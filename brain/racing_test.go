package brain_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// racer is one of many clients that want one of few seats.
type racer struct {
	n       int
	token   string
	session string
	brains  []string // addresses, of which the first is tried first

	mu    sync.Mutex
	state wire.MessageType // the last that a living brain said
	again bool             // it was a refusal for now
	seats []string         // that were granted
}

// holds reports whether the client is told that it has a seat, and by a brain that lives.
func (r *racer) holds(seat string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state == wire.MsgGranted && r.seats[len(r.seats)-1] == seat
}

// run plays until ctx ends: whose socket is lost comes to the next brain with the same
// ticket.
func (r *racer) run(ctx context.Context) {
	for try := 0; ctx.Err() == nil; try++ {
		r.connect(ctx, r.brains[(r.n+try)%len(r.brains)])
		r.mu.Lock()
		done := r.state == wire.MsgRefused && !r.again
		if !done {
			r.state = ""
		}
		r.mu.Unlock()
		if done {
			return
		}
		wait := min(100*time.Millisecond<<min(try, 5), 2*time.Second)
		pause(ctx, wait/2+rand.N(wait))
	}
}

func (r *racer) connect(ctx context.Context, brain string) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(r.n/4), byte(1+r.n%4))}}
	ws, _, err := websocket.Dial(ctx, "ws://"+brain+"/v1/connect", &websocket.DialOptions{HTTPClient: &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialer.DialContext}}})
	if err != nil {
		return
	}
	defer ws.CloseNow()
	hello, _ := json.Marshal(wire.Message{Type: wire.MsgHello, Ticket: r.token})
	if ws.Write(ctx, websocket.MessageText, hello) != nil {
		return
	}
	for {
		_, data, err := ws.Read(ctx)
		var m wire.Message
		if err != nil || json.Unmarshal(data, &m) != nil {
			return
		}
		r.mu.Lock()
		r.state, r.again = m.Type, m.Problem != nil && m.Problem.Status == http.StatusServiceUnavailable
		if m.Type == wire.MsgGranted {
			r.seats = append(r.seats, m.Grant.Seat)
		}
		r.mu.Unlock()
	}
}

// A thousand clients race for ten seats through three brains, of which one is killed. Ten of
// them have the seats then: also those whose claim was under way there, who come to another
// brain with the same ticket.
func TestTenSeatsForAThousand(t *testing.T) {
	const seats, people = 10, 1000
	s := newSite(t)
	all := s.idleSeats(seats)
	for _, x := range all {
		x.mu.Lock()
		x.lease = 15 * time.Second // as a stream host has it
		x.mu.Unlock()
	}
	var brains []*brainProcess
	for i := range 3 {
		brains = append(brains, s.process(fmt.Sprintf("b%d", i+1), "game", seats))
	}
	claimed := func() (n int) {
		for _, x := range all {
			x.mu.Lock()
			n += x.grants
			x.mu.Unlock()
		}
		return n
	}
	ctx, stop := context.WithCancel(s.ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	var racers []*racer
	for i := range people {
		r := &racer{n: i}
		r.token, r.session = s.ticket("game", 0)
		for _, b := range brains {
			r.brains = append(r.brains, b.address)
		}
		racers = append(racers, r)
	}
	var killed atomic.Bool
	running.Go(func() {
		for ctx.Err() == nil {
			if claimed() >= 3 {
				brains[0].Kill()
				killed.Store(true)
				return
			}
			pause(ctx, time.Millisecond)
		}
	})
	for _, r := range racers {
		running.Go(func() { r.run(ctx) })
	}
	bySession := map[string]*racer{}
	for _, r := range racers {
		bySession[r.session] = r
	}
	// held counts the seats whose client knows of it.
	held := func() (n int) {
		for _, x := range all {
			x.mu.Lock()
			session, seat := x.rec.Session, x.rec.ID
			x.mu.Unlock()
			if r := bySession[session]; r != nil && r.holds(seat) {
				n++
			}
		}
		return n
	}
	count := func() (told map[wire.MessageType]int) {
		told = map[wire.MessageType]int{}
		for _, r := range racers {
			r.mu.Lock()
			told[r.state]++
			r.mu.Unlock()
		}
		return told
	}
	testkit.UntilSeen(t, "ten hold the seats, and all others wait or were refused", func() (any, bool) {
		n, told := held(), count()
		ok := killed.Load() && n == seats && told[wire.MsgGranted] == seats &&
			told[wire.MsgGranted]+told[wire.MsgQueued]+told[wire.MsgStarting]+told[wire.MsgRefused] == people
		return fmt.Sprint(n, " hold seats; ", told), ok
	})
	t.Logf("%d seats are held, %d were claimed; clients were told: %v", held(), claimed(), count())
	for _, r := range racers {
		r.mu.Lock()
		// Who was granted a seat had no other one before, and no other one after.
		if got := slices.Compact(slices.Clone(r.seats)); len(got) > 1 {
			t.Errorf("client %d was granted %v", r.n, got)
		}
		r.mu.Unlock()
	}
	lapses := 0
	for _, x := range all {
		x.mu.Lock()
		lapses += x.lapses
		if n := len(x.used); n > 1+x.lapses {
			t.Errorf("%s was claimed by %d sessions, and %d were too late", x.rec.ID, n, x.lapses)
		}
		x.mu.Unlock()
	}
	if refused := count()[wire.MsgRefused]; refused > lapses {
		t.Errorf("%d clients were refused, and %d were too late for their seat", refused, lapses)
	}
}
