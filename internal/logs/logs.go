// Package logs is the one format of what the parts of a site log: a JSON object a line, with the
// same keys everywhere, so that a session's id finds what router, brain and seat did with it.
//
//	log := logs.New(os.Stderr, "brain")
//	logs.Set(log, "site", "eu-west-1")
//	log.Info("granted", "session", id, "seat", alloc, "app", app)
//
//	{"time":"…","level":"INFO","msg":"granted","session":"…","seat":"…","app":"viewer","part":"brain","site":"eu-west-1"}
//
// The keys that mean the same in each line that has them:
//
//	part     router, brain, turn, seat (its stream host), keeper
//	site     what the line is about; else the process's own
//	session  a session's id
//	seat     a seat's id, which is Nomad's allocation
//	app      an app's job id
//	node     a machine
//	error    what went wrong
//
// What is set with Set is in each line that does not say it itself: the stream host sets the session
// that has the seat.
package logs

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"
)

// New makes the log of a part.
func New(w io.Writer, part string) *slog.Logger { return NewAt(slog.LevelInfo, w, part) }

// NewAt makes a log of what has a level or a higher one.
func NewAt(level slog.Level, w io.Writer, part string) *slog.Logger {
	log := slog.New(&handler{Handler: slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}), facts: &facts{}})
	Set(log, "part", part)
	return log
}

// Set has each line of a log, and of all that were made of it, say a value from now on. An empty one
// is not said. It does nothing to a log that New has not made.
func Set(log *slog.Logger, key, value string) {
	if h, ok := log.Handler().(*handler); ok {
		h.facts.set(key, value)
	}
}

// facts are what each line says.
type facts struct {
	mu  sync.Mutex
	all []slog.Attr
}

func (f *facts) set(key, value string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(f.all), func(a slog.Attr) bool { return a.Key == key }) // who has got f.all goes on to read it
	if value != "" {
		all = append(all, slog.String(key, value))
	}
	f.all = all
}

func (f *facts) get() []slog.Attr {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.all
}

type handler struct {
	slog.Handler
	facts *facts
	said  []string // the keys that With has given
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	out := r.Clone()
	for _, fact := range h.facts.get() {
		said := slices.Contains(h.said, fact.Key)
		r.Attrs(func(a slog.Attr) bool {
			said = said || a.Key == fact.Key
			return !said
		})
		if !said {
			out.AddAttrs(fact)
		}
	}
	return h.Handler.Handle(ctx, out)
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	said := slices.Clone(h.said)
	for _, a := range attrs {
		said = append(said, a.Key)
	}
	return &handler{Handler: h.Handler.WithAttrs(attrs), facts: h.facts, said: said}
}

// WithGroup has what follows in a group, and the facts, too: no part uses groups.
func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{Handler: h.Handler.WithGroup(name), facts: h.facts, said: h.said}
}
