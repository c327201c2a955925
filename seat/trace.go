package seat

import (
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/trace"
)

// The steps of a launch at a seat, in their order. Each is a span below "seat launch".
const (
	stepOffer  = iota // granted → the browser's offer is here
	stepAnswer        // → it is answered
	stepICE           // → the connection is up
	stepRest          // → Play, where the seat was prepared before
	stepFrame         // → the first picture is sent
	stepDone
)

var stepNames = [stepDone]string{"seat offer", "seat answer", "seat ICE", "seat rest before Play", "seat first frame"}

// launchTrace has the spans of the launch that the seat serves now. It ends with the first
// picture, so that a page which connects anew adds nothing. nil traces nothing.
type launchTrace struct {
	tracer *trace.Tracer
	began  time.Time // of the seat

	mu      sync.Mutex
	ready   time.Time // when the seat became idle first
	session string
	rests   bool // its person has not pressed Play
	at      int
	launch  *trace.Span
	step    *trace.Span
}

func newLaunchTrace(tracer *trace.Tracer, began time.Time) *launchTrace {
	if tracer == nil {
		return nil
	}
	return &launchTrace{tracer: tracer, began: began, at: stepDone}
}

// isReady notes that the seat has started.
func (l *launchTrace) isReady() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ready = time.Now()
}

// origin is where a launch comes from.
type origin struct {
	first     time.Time // when Play was pressed
	app, seat string
	ticket    string // traceparent of the ticket
	brain     string // and of the brain, which counts before it
}

// begin begins the launch of a session that has claimed the seat, or has it prepared. A claim that
// is repeated goes on with the launch that is there.
func (l *launchTrace) begin(session string, from origin, prepared bool) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session == session && l.at != stepDone {
		l.rests = prepared
		return
	}
	l.finish("another session has the seat")
	parent := from.brain
	if !trace.Sound(parent) {
		parent = from.ticket
	}
	l.session, l.rests, l.at = session, prepared, stepOffer
	l.launch = l.tracer.Start(parent, "seat launch", session)
	l.launch.Set("app", from.app)
	l.launch.Set("seat", from.seat)
	if l.ready.Truncate(time.Millisecond).After(from.first) { // as the ticket has it; else it was ready before the person came
		start := l.tracer.StartAt(parent, "seat start", session, l.began)
		start.Set("seat", from.seat)
		start.EndAt(l.ready)
	}
	l.step = l.launch.Child(stepNames[stepOffer])
}

// reach notes that the launch of a session has come to a step.
func (l *launchTrace) reach(session string, step int) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session != session {
		return
	}
	if step == stepFrame && l.rests {
		step = stepRest
	}
	l.goTo(step)
}

// played notes that the person has pressed Play.
func (l *launchTrace) played(session string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session == session && l.rests {
		if l.rests = false; l.at == stepRest {
			l.goTo(stepFrame)
		}
	}
}

func (l *launchTrace) goTo(step int) {
	if step <= l.at {
		return
	}
	l.step.End()
	if l.at = step; step == stepDone {
		l.launch.End()
		l.launch, l.step = nil, nil
		return
	}
	l.step = l.launch.Child(stepNames[step])
}

// over ends the launch of a session that will see no picture.
func (l *launchTrace) over(why string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finish(why)
}

// gone ends the launch of a session whose person is gone, if they have not pressed Play.
func (l *launchTrace) gone(session string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session == session && l.rests {
		l.finish("")
	}
}

func (l *launchTrace) finish(why string) {
	if l.at == stepDone {
		return
	}
	if l.rests {
		l.launch.Set("ended", "Play was not pressed")
	} else {
		l.step.Fail(why)
		l.launch.Fail(why)
	}
	l.goTo(stepDone)
}
