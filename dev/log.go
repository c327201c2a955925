package dev

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// lineHandler writes records for a terminal: the time since the start, the message,
// then its fields.
//
//	[0:03] nomad is up  took=2.9s
type lineHandler struct {
	w     io.Writer
	began time.Time
	attrs []slog.Attr
	group string
}

// NewLogger writes a line for each record; a nil w is no log.
func NewLogger(w io.Writer) *slog.Logger {
	if w == nil {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(lineHandler{w: w, began: time.Now()})
}

func (h lineHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

func (h lineHandler) Handle(_ context.Context, r slog.Record) error {
	var line strings.Builder
	d := r.Time.Sub(h.began)
	fmt.Fprintf(&line, "[%d:%02d] ", int(d.Minutes()), int(d.Seconds())%60)
	if r.Level >= slog.LevelWarn {
		line.WriteString(r.Level.String() + " ")
	}
	line.WriteString(r.Message)
	for _, a := range h.attrs {
		fmt.Fprintf(&line, "  %s=%v", a.Key, a.Value)
	}
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&line, "  %s%s=%v", h.group, a.Key, a.Value)
		return true
	})
	line.WriteByte('\n')
	// One write for each line: those of several goroutines must not mix.
	_, err := io.WriteString(h.w, line.String())
	return err
}

func (h lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.attrs = slices.Clone(h.attrs)
	for _, a := range attrs {
		h.attrs = append(h.attrs, slog.Attr{Key: h.group + a.Key, Value: a.Value})
	}
	return h
}

func (h lineHandler) WithGroup(name string) slog.Handler {
	h.group += name + "."
	return h
}
