package cell

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// first plays a first process, which may be hostile: it answers as a test says.
type first struct {
	t    *testing.T
	conn *Conn
}

func withFirst(t *testing.T) (*Client, *first) {
	t.Helper()
	ours, theirs := pair(t)
	c := NewClient(Made{}, ours)
	t.Cleanup(func() { c.Close() })
	return c, &first{t, theirs}
}

func (f *first) order() (o Order) {
	files, err := f.conn.Receive(&o)
	if err != nil {
		f.t.Error(err)
	}
	closeAll(files)
	return o
}

func (f *first) say(e Event, files ...*os.File) {
	if err := f.conn.Send(e, files...); err != nil {
		f.t.Error(err)
	}
}

// started is a program that the first process says it has started.
func started(t *testing.T, c *Client, f *first, name string) *Process {
	t.Helper()
	go func() { f.say(Event{ID: f.order().ID, PID: 7}) }()
	p, err := c.Start(testkit.Context(t, time.Minute), Program{Name: name})
	testkit.Must(t, err)
	if p.PID != 7 {
		t.Errorf("pid %d", p.PID)
	}
	return p
}

func ended(t *testing.T, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-testkit.Context(t, time.Minute).Done():
		t.Fatal("no end")
	}
}

// TestClientIgnores: events that nobody waits for change nothing.
func TestClientIgnores(t *testing.T) {
	c, f := withFirst(t)
	app := started(t, c, f, App)
	before := descriptors(t)
	f.say(Event{ID: 99, PID: 1}, tempFile(t, "x"), tempFile(t, "x"))
	f.say(Event{ID: 1, Error: "a second answer"})
	f.say(Event{ID: -1})
	f.say(Event{End: "nobody", ExitCode: 1})
	f.say(Event{})
	go func() {
		id := f.order().ID
		f.say(Event{ID: id, CPU: 5})
		f.say(Event{ID: id, CPU: 6})
	}()
	if cpu := c.CPU(); cpu != 5 {
		t.Errorf("CPU %v", cpu)
	}
	if after := descriptors(t); after != before+2 { // those of the test itself
		t.Errorf("%d descriptors, there were %d", after, before)
	}
	select {
	case <-app.Done():
		t.Error("the app has ended")
	default:
	}
	f.say(Event{End: App, ExitCode: 3})
	ended(t, app.Done())
	f.say(Event{End: App, ExitCode: 4}) // a second end
	go func() { f.say(Event{ID: f.order().ID}) }()
	testkit.Must(t, c.Thaw())
	if r := app.Result(); r != (Result{ExitCode: 3}) {
		t.Errorf("%+v", r)
	}
}

// TestEndWithAnswer: one event is both.
func TestEndWithAnswer(t *testing.T) {
	c, f := withFirst(t)
	go func() { f.say(Event{ID: f.order().ID, PID: 7, End: App, Signal: 9}) }()
	p, err := c.Start(testkit.Context(t, time.Minute), Program{Name: App})
	testkit.Must(t, err)
	ended(t, p.Done())
	if r := p.Result(); r != (Result{Signal: 9}) {
		t.Errorf("%+v", r)
	}
}

func TestEndBeforeAnswer(t *testing.T) {
	c, f := withFirst(t)
	go func() {
		id := f.order().ID
		f.say(Event{End: App, ExitCode: 2})
		f.say(Event{ID: id, PID: 7})
	}()
	p, err := c.Start(testkit.Context(t, time.Minute), Program{Name: App})
	testkit.Must(t, err)
	ended(t, p.Done())
	if r := p.Result(); r != (Result{ExitCode: 2}) {
		t.Errorf("%+v", r)
	}
}

func TestClientErrors(t *testing.T) {
	c, f := withFirst(t)
	answer := func(e Event, files ...*os.File) {
		e.ID = f.order().ID
		f.say(e, files...)
	}
	ctx := testkit.Context(t, time.Minute)
	go answer(Event{Error: "why", Code: wire.CodeAppNotFound})
	var end wire.End
	if _, err := c.Start(ctx, Program{Name: App}); !errors.As(err, &end) || end != (wire.End{Reason: wire.ReasonError, Code: wire.CodeAppNotFound, Detail: "why"}) {
		t.Errorf("%v", err)
	}
	go answer(Event{Error: "no"}, tempFile(t, ""))
	if err := c.Freeze(); err == nil || err.Error() != "no" {
		t.Errorf("%v", err)
	}
	go answer(Event{})
	if f, err := c.Open("/x"); err == nil {
		t.Errorf("no file is %v", f)
	}
	two := []*os.File{tempFile(t, ""), tempFile(t, "")}
	go answer(Event{}, two...)
	if f, err := c.Open("/x"); err == nil {
		t.Errorf("two files are %v", f)
	}
	go answer(Event{}, tempFile(t, ""))
	if conn, err := c.Dial("/x"); err == nil {
		t.Errorf("a file is %v", conn)
	}
	// The failed app may be started again, but not twice.
	p := started(t, c, f, App)
	if _, err := c.Start(ctx, Program{Name: App}); err == nil {
		t.Error("it was started twice")
	}
	cancelled, cancel := context.WithCancel(ctx)
	go func() { f.order(); cancel() }()
	if _, err := c.Start(cancelled, Program{Name: "server"}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	f.conn.Close()
	ended(t, c.Done())
	ended(t, p.Done())
	if r := p.Result(); r.Signal != 9 {
		t.Errorf("%+v", r)
	}
	if _, err := c.Start(ctx, Program{Name: App}); !errors.Is(err, ErrEnded) {
		t.Errorf("start in a cell that has ended: %v", err)
	}
}

// TestEndWhileWaiting: an order does not wait for a first process that is gone.
func TestEndWhileWaiting(t *testing.T) {
	c, f := withFirst(t)
	go func() { f.order(); f.conn.Close() }()
	if _, err := c.Start(testkit.Context(t, time.Minute), Program{Name: App}); !errors.Is(err, ErrEnded) {
		t.Errorf("%v", err)
	}
}
