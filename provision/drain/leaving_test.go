package drain

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/provision/awsapi/awstest"
)

// drains notes the drains that Nomad is asked for.
type drains struct{ asked chan time.Duration }

func (d drains) Drain(_ context.Context, deadline time.Duration, _ string) error {
	d.asked <- deadline
	return nil
}

func (d drains) Drained(context.Context) error { return nil }

// looks counts the looks at the metadata.
type looks struct {
	Metadata
	n atomic.Int64
}

func (l *looks) Get(ctx context.Context, path string) (string, error) {
	if path == rebalance {
		l.n.Add(1)
	}
	return l.Metadata.Get(ctx, path)
}

// TestRebalance: the cloud advises to leave the node. The driver is told for as long, and the node is
// not drained. An interruption drains it at once.
func TestRebalance(t *testing.T) {
	dir := t.TempDir()
	cloud := awstest.New(t)
	nomad, meta := drains{make(chan time.Duration, 8)}, &looks{Metadata: cloud.IMDS()}
	c := Config{Meta: meta, Node: nomad, Poll: 10 * time.Millisecond, Leaving: TellLeaving(dir),
		Log: testkit.Logger(t)}
	told := func() (said wire.Leaving) {
		if text, err := os.ReadFile(filepath.Join(dir, wire.LeavingFile)); err == nil {
			testkit.Must(t, json.Unmarshal(text, &said))
		}
		return said
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, c) }()
	defer func() { cancel(); <-done }()
	more := func() {
		t.Helper()
		from := meta.n.Load()
		testkit.Until(t, "three more looks", func() bool { return meta.n.Load() > from+3 })
	}

	cloud.Say("autoscaling/target-lifecycle-state", "InService")
	more()
	if !told().At.IsZero() {
		t.Error("the driver is told without an advice")
	}
	cloud.Say(rebalance, `{"noticeTime": "2026-03-04T05:06:02Z"}`)
	testkit.Until(t, "the driver is told", func() bool { return !told().At.IsZero() })
	first := told().At
	testkit.Until(t, "it is told again", func() bool { return told().At.After(first) })
	select {
	case <-nomad.asked:
		t.Fatal("the node is drained for an advice")
	default:
	}

	// The advice is withdrawn: what the file says gets old.
	cloud.Say(rebalance, "")
	more()
	last := told().At
	more()
	if !told().At.Equal(last) {
		t.Error("the driver is told of an advice that was withdrawn")
	}

	cloud.Say(rebalance, `{"noticeTime": "2026-03-04T05:08:02Z"}`)
	cloud.Say("spot/instance-action", fmt.Sprintf(`{"action": "terminate", "time": %q}`, time.Now().Add(2*time.Minute).UTC().Format(time.RFC3339)))
	select {
	case deadline := <-nomad.asked:
		if deadline > 2*time.Minute-reserve || deadline < time.Minute {
			t.Errorf("sessions may continue for %v", deadline)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("an interruption does not drain the node")
	}
	err := <-done
	done <- nil // for the deferred wait
	testkit.Must(t, err)
}
