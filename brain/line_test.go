package brain

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/feed"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// lineSite is one brain's state, with a clock of its own and an app without seats.
type lineSite struct {
	*state
	t    *testing.T
	at   time.Time
	free []wire.Seat
	jobs map[string]Child
}

func newLineSite(t *testing.T) *lineSite {
	s := &lineSite{t: t, at: time.Unix(1_800_000_000, 0), jobs: map[string]Child{}}
	s.state = newState("dc1", slog.New(slog.DiscardHandler), newMetrics(nil), func() time.Time { return s.at })
	s.jobsChanged(JobsChange{All: true, Apps: map[string]App{game: {ID: game, Version: 1, Max: 0}}})
	s.seatsChanged(nil)
	return s
}

// seat adds a free seat.
func (s *lineSite) seat(id string) {
	s.jobsChanged(JobsChange{Children: map[string]Child{id: {ID: id, App: game, Version: 1, Alloc: id, State: ChildRunning, Created: s.at}}})
	s.free = append(s.free, wire.Seat{ID: id, App: game, Job: id, Version: 1, State: wire.SeatIdle, Since: s.at})
	s.seatsChanged(s.free)
}

// comes has a person come whose ticket was made so many milliseconds ago.
func (s *lineSite) comes(session string, ago int) *waiter {
	first := s.at.Add(-time.Duration(ago) * time.Millisecond)
	w := newWaiter(ticket.Claims{Session: session, App: game, First: first}, "", s.at)
	s.enqueue(w)
	return w
}

// elsewhere has another brain tell of a person.
func (s *lineSite) elsewhere(session string, ago int, offered string) {
	s.lineSaid("other", false, map[string]wire.Waiting{session: {App: game, First: s.at.Add(-time.Duration(ago) * time.Millisecond), Offered: offered}}, nil)
}

func (s *lineSite) order() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	if l := s.lines[game]; l != nil {
		for _, p := range l.places {
			out = append(out, p.session)
		}
	}
	return strings.Join(out, " ")
}

func position(t *testing.T, w *waiter) int {
	t.Helper()
	select {
	case m := <-w.updates:
		if m.Queue != nil {
			return m.Queue.Position
		}
		t.Errorf("told %+v", m)
	default:
		t.Error("told nothing")
	}
	return 0
}

// The place is the ticket's. Who connects first, and at which brain, does not count.
func TestPlaceIsTheTickets(t *testing.T) {
	s := newLineSite(t)
	late := s.comes("late", 100)
	early := s.comes("early", 300)
	s.elsewhere("first", 400, "")
	s.elsewhere("between", 200, "")
	if got := s.order(); got != "first early between late" {
		t.Fatalf("the order is %s", got)
	}
	s.timePassed()
	if a, b := position(t, early), position(t, late); a != 2 || b != 4 {
		t.Errorf("told places %d and %d", a, b)
	}
	// The first seat is for the first, who waits at the other brain.
	s.seat("a")
	if early.seat != "" || late.seat != "" {
		t.Errorf("a seat for %q and %q, and somebody elsewhere is before them", early.seat, late.seat)
	}
	s.seat("b")
	if early.seat != "b" || late.seat != "" {
		t.Errorf("seats %q and %q", early.seat, late.seat)
	}
}

// A seat that another brain offers is left alone, until that brain takes the offer back.
func TestOfferedElsewhere(t *testing.T) {
	s := newLineSite(t)
	s.seat("a")
	s.elsewhere("theirs", 100, "a")
	mine := s.comes("mine", 0)
	if mine.seat != "" {
		t.Errorf("offered %s, which another brain offers", mine.seat)
	}
	s.lineSaid("other", false, nil, []string{"theirs"})
	s.at = s.at.Add(elsewhereFor + time.Second)
	s.timePassed()
	if mine.seat != "a" {
		t.Error("the seat is free again, and is not offered")
	}
}

// A brain that hangs keeps a seat from others for half a second, and not for ever.
func TestBrainThatHangs(t *testing.T) {
	s := newLineSite(t)
	s.elsewhere("theirs", 100, "")
	mine := s.comes("mine", 0)
	s.seat("a")
	if mine.seat != "" {
		t.Fatal("the seat is not left to the person who came first")
	}
	s.at = s.at.Add(leftFor + time.Millisecond)
	s.timePassed()
	if mine.seat != "a" {
		t.Error("the seat is offered to nobody")
	}
}

// A person whose brain has died has five seconds to come back to their place.
func TestPlaceIsKept(t *testing.T) {
	s := newLineSite(t)
	s.elsewhere("returns", 300, "")
	s.elsewhere("stays away", 200, "")
	mine := s.comes("mine", 0)
	s.lineLost("other")
	s.seat("a")
	s.at = s.at.Add(keptFor - time.Second)
	s.timePassed()
	if mine.seat != "" {
		t.Error("overtook people whose brain has died a moment ago")
	}
	back := newWaiter(ticket.Claims{Session: "returns", App: game, First: s.at.Add(-keptFor)}, "", s.at)
	s.enqueue(back)
	if back.seat != "a" || strings.Count(s.order(), "returns") != 1 {
		t.Errorf("the one who returns is offered %q, the order is %s", back.seat, s.order())
	}
	s.seat("b")
	s.at = s.at.Add(2 * time.Second)
	s.timePassed()
	if mine.seat != "b" {
		t.Errorf("the place of the one who stays away is kept for ever: %s", s.order())
	}
	if len(s.peers) != 0 {
		t.Errorf("kept of the brain that is gone: %+v", s.peers)
	}
	s.leave(back)
	s.leave(mine)
	if got := s.order(); got != "" {
		t.Errorf("left behind: %s", got)
	}
}

// Where more people come than can be taken in, they have longer, and not for ever.
func TestPlaceIsKeptInACrowd(t *testing.T) {
	s := newLineSite(t)
	crowded := true
	s.state.crowded = func() bool { return crowded }
	s.elsewhere("returns", 300, "")
	mine := s.comes("mine", 0)
	s.lineLost("other")
	s.seat("a")
	for range keptFor/time.Second + 2 {
		s.at = s.at.Add(time.Second)
		s.timePassed()
	}
	if mine.seat != "" {
		t.Fatal("overtook people who cannot have come yet")
	}
	crowded = false
	s.at = s.at.Add(2 * time.Second)
	s.timePassed()
	if mine.seat != "a" {
		t.Error("the place is kept where nobody is in the way any more")
	}

	crowded = true
	s.elsewhere("stays away", 300, "")
	next := s.comes("next", 0)
	s.lineLost("other")
	s.seat("b")
	for range (keptFor + keptInACrowd) / time.Second {
		s.at = s.at.Add(time.Second)
		s.timePassed()
	}
	if next.seat != "b" {
		t.Error("the place is kept for ever")
	}
}

// A brain that has just connected tells of all its people; those it does not tell of are gone.
func TestSnapshotOfALine(t *testing.T) {
	s := newLineSite(t)
	s.elsewhere("a", 300, "")
	s.elsewhere("b", 200, "")
	s.lineSaid("other", true, map[string]wire.Waiting{"b": {App: game, First: s.at}}, nil)
	if got := s.order(); got != "b" {
		t.Errorf("the order is %s", got)
	}
	// It moved to a third brain.
	s.lineSaid("third", false, map[string]wire.Waiting{"b": {App: game, First: s.at}}, nil)
	s.lineSaid("other", true, nil, nil)
	if got := s.order(); got != "b" {
		t.Errorf("the order is %s", got)
	}
}

// What a brain offers and has not claimed is bounded; the rest waits, and goes on when an
// offer has ended.
func TestOffersAreBounded(t *testing.T) {
	s := newLineSite(t)
	var free []wire.Seat
	children := map[string]Child{}
	for i := range 2 * startOffers {
		id := fmt.Sprint("seat-", i)
		children[id] = Child{ID: id, App: game, Version: 1, Alloc: id, State: ChildRunning, Created: s.at}
		free = append(free, wire.Seat{ID: id, App: game, Job: id, Version: 1, State: wire.SeatIdle, Since: s.at})
	}
	s.jobsChanged(JobsChange{Children: children})
	s.seatsChanged(free)
	var people []*waiter
	for i := range startOffers + 10 {
		people = append(people, s.comes(fmt.Sprintf("s-%04d", i), 1000-i))
	}
	offered := func() (n int) {
		for _, w := range people {
			if w.seat != "" {
				n++
			}
		}
		return n
	}
	if n := offered(); n != startOffers || s.offers != startOffers {
		t.Fatalf("%d offers, %d counted", n, s.offers)
	}
	for i, w := range people[:startOffers] {
		at := slices.IndexFunc(free, func(f wire.Seat) bool { return f.ID == w.seat })
		s.granted(w, free[at])
		if n := offered(); n != min(s.window.offers(), len(people)-i-1) {
			t.Fatalf("%d offers after %d grants", n, i+1)
		}
	}
}

// A brain is behind while many people wait for free seats, and not where no seat is free.
func TestBehind(t *testing.T) {
	s := newLineSite(t)
	for i := range 3*startOffers + 1 {
		s.comes(fmt.Sprintf("s-%04d", i), 1000-i)
	}
	if s.behind() {
		t.Error("behind without a free seat")
	}
	for i := range 3 * startOffers {
		s.seat(fmt.Sprint("seat-", i))
	}
	if s.behind() {
		t.Errorf("behind with %d seats free, of which %d are offered", len(s.free), s.offers)
	}
	s.seat("one more")
	if !s.behind() {
		t.Errorf("not behind with %d seats free, of which %d are offered", len(s.free), s.offers)
	}
	s.leave(s.waiters["s-0096"])
	if s.behind() {
		t.Error("behind when somebody has left")
	}
}

// An offer that ends wakes an app whose people wait, past one whose people have gone.
func TestStalledAppWithoutPeople(t *testing.T) {
	s := newLineSite(t)
	var w *waiter
	for i := range startOffers + 1 {
		w = s.comes(fmt.Sprintf("s-%04d", i), 1000-i)
		s.seat(fmt.Sprint("seat-", i))
	}
	if w.seat != "" || len(s.stalled) != 1 {
		t.Fatalf("offered %q, stalled %v", w.seat, s.stalled)
	}
	s.stalled = []string{"gone", game}
	s.leave(s.waiters["s-0000"])
	if w.seat == "" {
		t.Errorf("still waits, stalled %v", s.stalled)
	}
}

// The seats of a node that is not heard are offered to nobody, and are there again with it.
func TestLostNodeIsNotOffered(t *testing.T) {
	s := newLineSite(t)
	s.seat("a")
	s.nodeLost("")
	mine := s.comes("mine", 0)
	if mine.seat != "" {
		t.Error("a seat of a lost node is offered")
	}
	s.seatsChanged(s.free)
	if mine.seat != "a" {
		t.Error("the node is back, and its seat is not offered")
	}
}

// A late event does not bring a dead child back.
func TestDeadStaysDead(t *testing.T) {
	s := newLineSite(t)
	child := Child{ID: "a", App: game, Version: 1, Alloc: "a", State: ChildRunning, Created: s.at}
	for _, state := range []ChildState{ChildRunning, ChildDead, ChildRunning} {
		child.State = state
		s.jobsChanged(JobsChange{Children: map[string]Child{"a": child}})
	}
	if n := s.view.of(game).total(); n != 0 {
		t.Errorf("%d seats of the app", n)
	}
	if at := s.locate("a"); at.running || at.end == nil {
		t.Errorf("the seat is %+v", at)
	}
}

// An app that has to wait for the offers of another one is served when one of them ends.
func TestOffersOfAnotherApp(t *testing.T) {
	s := newLineSite(t)
	s.seat("a")
	s.offers = startOffers - 1 // of another app
	s.jobsChanged(JobsChange{Apps: map[string]App{"other": {ID: "other", Version: 1}},
		Children: map[string]Child{"o": {ID: "o", App: "other", Version: 1, Alloc: "o", State: ChildRunning, Created: s.at}}})
	s.seatsChanged(append(s.free, wire.Seat{ID: "o", App: "other", Job: "o", Version: 1, State: wire.SeatIdle, Since: s.at}))
	first := s.comes("first", 10)
	second := newWaiter(ticket.Claims{Session: "second", App: "other", First: s.at}, "", s.at)
	s.enqueue(second)
	if first.seat != "a" || second.seat != "" {
		t.Fatalf("offered %q and %q", first.seat, second.seat)
	}
	s.granted(first, s.free[0])
	if second.seat != "o" {
		t.Error("the other app is not served")
	}
}

// A person counts once, whatever brains tell of them, and until the last one says that they are gone.
func TestPlaceAtSeveralBrains(t *testing.T) {
	t.Parallel()
	s := newLineSite(t)
	first := s.at
	says := func(brain string, offered string) {
		s.at = s.at.Add(time.Millisecond)
		s.lineSaid(brain, false, map[string]wire.Waiting{"p": {App: game, First: first, Offered: offered}}, nil)
	}
	leaves := func(brain string) { s.lineSaid(brain, false, nil, []string{"p"}) }
	at := func(step, want string) {
		t.Helper()
		got := ""
		for _, theirs := range s.peers {
			if p := theirs["p"]; p != nil && !p.aside {
				got += p.brain
			}
		}
		if s.waiters["p"] != nil {
			got += "here"
		}
		order := "p"
		if want == "" {
			order = ""
		}
		if got != want || s.order() != order {
			t.Errorf("%s: waits at %q, want %q, and the order is %q", step, got, want, s.order())
		}
		if wrong := s.inconsistent(); wrong != "" {
			t.Errorf("%s: %s", step, wrong)
		}
	}
	says("b/1", "")
	at("told", "b/1")
	says("c/1", "")
	at("told by another brain", "c/1")
	says("b/1", "seat")
	at("the former one offers a seat", "c/1")
	leaves("c/1")
	at("the later one has them no more", "b/1")
	says("b/2", "")
	at("it connects anew", "b/2")
	leaves("b/2")
	at("they leave", "")
	says("c/1", "")
	w := newWaiter(ticket.Claims{Session: "p", App: game, First: first}, "", s.at)
	s.enqueue(w)
	at("comes here", "here")
	says("d/1", "")
	at("is elsewhere again", "here")
	s.lineLost("d/1")
	s.leave(w)
	at("leaves after that brain has died", "c/1")
	s.lineLost("c/1")
	at("and the other dies", "c/1")
	s.at = s.at.Add(keptFor)
	s.timePassed()
	at("and they stay away", "")
	s.lineLost("b/1")
	s.lineLost("b/2")
	if len(s.peers) != 0 {
		t.Errorf("kept of brains that are gone: %+v", s.peers)
	}
}

// A page that connects again takes the place of its earlier connection, whose end comes late: other brains
// still hear of the person.
func TestToldWhereAPageConnectsAgain(t *testing.T) {
	s := newLineSite(t)
	var streams sync.WaitGroup // the server's Close does not wait for WebSockets
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		streams.Add(1)
		defer streams.Done()
		ws, err := websocket.Accept(rw, r, nil)
		if err == nil {
			err = s.told.Stream(r.Context(), ws)
		}
		t.Logf("the feed ended: %v", err)
	}))
	ctx, cancel := context.WithCancel(t.Context())
	ws, _, err := websocket.Dial(ctx, server.URL, nil)
	testkit.Must(t, err)
	var mu sync.Mutex
	here := map[string]wire.Waiting{}
	hears := func(session string) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			_, ok := here[session]
			return ok
		}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = feed.Read(ctx, ws, feed.Whole(func(m feed.Message[wire.Waiting]) error {
			mu.Lock()
			defer mu.Unlock()
			maps.Copy(here, m.Set)
			for _, session := range m.Gone {
				delete(here, session)
			}
			return nil
		}))
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		server.CloseClientConnections()
		server.Close()
		streams.Wait()
	})
	before := s.comes("p", 0)
	testkit.Until(t, "the person is told of", hears("p"))
	s.comes("p", 0)
	s.leave(before)
	s.comes("q", 0)
	testkit.Until(t, "the next person is told of", hears("q"))
	if !hears("p")() {
		t.Error("the person is told as gone, and waits")
	}
}
