package logs

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"maps"
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	var out bytes.Buffer
	log := New(&out, "seat")
	last := func() map[string]any {
		t.Helper()
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		text := lines[len(lines)-1]
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if line["time"] == nil {
			t.Errorf("no time: %s", text)
		}
		delete(line, "time")
		for key := range line {
			if strings.Count(text, `"`+key+`":`) != 1 {
				t.Errorf("%s stands twice: %s", key, text)
			}
		}
		return line
	}
	is := func(want map[string]any) {
		t.Helper()
		if got := last(); !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	log.Info("one")
	is(map[string]any{"level": "INFO", "msg": "one", "part": "seat"})
	derived := log.With("app", "viewer")
	Set(log, "session", "s-1")
	Set(derived, "site", "a")
	derived.Warn("two", "seat", "x")
	is(map[string]any{"level": "WARN", "msg": "two", "part": "seat", "app": "viewer", "seat": "x", "session": "s-1", "site": "a"})
	// What a line says itself counts.
	log.With("session", "s-2").Info("three", "site", "b")
	is(map[string]any{"level": "INFO", "msg": "three", "part": "seat", "session": "s-2", "site": "b"})
	Set(log, "session", "")
	derived.Info("four")
	is(map[string]any{"level": "INFO", "msg": "four", "part": "seat", "app": "viewer", "site": "a"})
	Set(slog.New(slog.DiscardHandler), "site", "c") // another log
}
