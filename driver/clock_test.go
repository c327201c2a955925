package driver

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/plugins/shared/structs"
)

func TestClock(t *testing.T) {
	for _, c := range []struct {
		clock      nodeClock
		ms         int64 // 0: no attribute
		attributes int
		note       string
	}{
		{nodeClock{}, 0, 0, ""},
		{nodeClock{known: true}, 0, 1, "NTP client"},
		{nodeClock{known: true, synchronised: true, off: 300 * time.Microsecond}, 1, 2, ""},
		{nodeClock{known: true, synchronised: true, off: 12 * time.Millisecond}, 100, 2, ""},
		{nodeClock{known: true, synchronised: true, off: 11 * time.Second}, 100_000, 2, "off by 11s"},
	} {
		got := map[string]*structs.Attribute{}
		c.clock.attributes(got)
		var ms int64
		if a := got["driver.stream.clock.error_ms"]; a != nil {
			ms, _ = a.GetInt()
		}
		if len(got) != c.attributes || ms != c.ms {
			t.Errorf("%+v: %d attributes, %d ms", c.clock, len(got), ms)
		}
		if note := strings.Join(c.clock.notes(), ""); (note == "") != (c.note == "") || !strings.Contains(note, c.note) {
			t.Errorf("%+v: note %q", c.clock, note)
		}
	}
	// This machine's kernel, if it tells.
	now := readClock()
	t.Logf("this machine: %+v", now)
	if now.known && now.synchronised && now.off > time.Minute {
		t.Errorf("a synchronised clock is off by %v", now.off)
	}
}
