package ready

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/provision/awsapi"
	"github.com/nearcast/nearcast/provision/awsapi/awstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// starting is a node whose Consul comes late, or never.
type starting struct {
	cloud *awstest.Cloud
	ready atomic.Bool
	kept  string
	marks atomic.Int64
	c     Config
}

func newStarting(t *testing.T) *starting {
	s := &starting{cloud: awstest.New(t)}
	s.c = Config{
		Look: func(context.Context) []Result {
			if s.ready.Load() {
				return []Result{{Part: "consul"}}
			}
			return []Result{{Part: "configuration"}, {Part: "consul", Err: errors.New("no leader")}}
		},
		Group: s.cloud.Client(), Meta: s.cloud.IMDS(), Lifecycle: awsapi.Lifecycle{Group: "prod-edge", Hook: "ready"},
		Keep: func(_ context.Context, instance, reason string) error {
			s.kept = instance + ": " + reason
			return nil
		},
		Mark:   func() error { s.marks.Add(1); return nil },
		Within: time.Minute, Poll: 10 * time.Millisecond, Log: testkit.Logger(t),
	}
	return s
}

// said are the results and heartbeats that the group got.
func (s *starting) said(t *testing.T) (all []string) {
	actions, _ := s.cloud.Actions()
	for _, a := range actions {
		if a.Get("AutoScalingGroupName") != "prod-edge" || a.Get("LifecycleHookName") != "ready" || a.Get("InstanceId") != "i-0123456789abcdef0" {
			t.Errorf("the group got %v", a)
		}
		all = append(all, strings.TrimSuffix(a.Get("Action"), "LifecycleAction")+a.Get("LifecycleActionResult"))
	}
	return all
}

func (s *starting) run(t *testing.T, ctx context.Context) <-chan error {
	ctx, cancel := context.WithCancel(ctx)
	done, ended := make(chan error, 1), make(chan struct{})
	go func() { defer close(ended); done <- Run(ctx, s.c) }()
	t.Cleanup(func() { cancel(); <-ended })
	return done
}

// TestReady: the group hears of a node only when all parts are ready, however often AWS
// fails meanwhile.
func TestReady(t *testing.T) {
	ctx := testkit.Context(t, time.Minute)
	s := newStarting(t)
	s.cloud.Throttle(4)
	done := s.run(t, ctx)
	testkit.Retry(ctx, t, "a heartbeat", func() error {
		if said := s.said(t); len(said) != 1 || said[0] != "RecordLifecycleActionHeartbeat" {
			return errors.New(strings.Join(said, " "))
		}
		return nil
	})
	select {
	case err := <-done:
		t.Fatalf("it ended before the node was ready: %v", err)
	default:
	}
	s.cloud.Throttle(4)
	s.ready.Store(true)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if said := s.said(t); len(said) != 2 || said[1] != "CompleteCONTINUE" {
		t.Errorf("the group heard %v", said)
	}
	if s.kept != "" {
		t.Errorf("a node that is ready left %q", s.kept)
	}
}

// TestGivenUp: a node that is not ready in time says why, and the group takes another one.
func TestGivenUp(t *testing.T) {
	s := newStarting(t)
	s.c.Within = 50 * time.Millisecond
	err := Run(testkit.Context(t, time.Minute), s.c)
	if !errors.Is(err, ErrGivenUp) || !strings.Contains(err.Error(), "consul: no leader") {
		t.Errorf("it ended with %v", err)
	}
	if said := s.said(t); len(said) == 0 || said[len(said)-1] != "CompleteABANDON" {
		t.Errorf("the group heard %v", said)
	}
	if s.marks.Load() != 1 {
		t.Errorf("the node has %d marks that it is given up", s.marks.Load())
	}
	if !strings.HasPrefix(s.kept, "i-0123456789abcdef0: ") || !strings.Contains(s.kept, "consul: no leader") {
		t.Errorf("it kept %q", s.kept)
	}
}

// TestNobodyWaits: a node that boots again is in its group already. It is not given up,
// and is ready when it is ready.
func TestNobodyWaits(t *testing.T) {
	ctx := testkit.Context(t, time.Minute)
	s := newStarting(t)
	s.cloud.NoAction(true)
	s.c.Within, s.c.Settle = 50*time.Millisecond, 50*time.Millisecond
	asked := make(chan struct{}, 1)
	look := s.c.Look
	s.c.Look = func(ctx context.Context) []Result {
		select {
		case asked <- struct{}{}:
		default:
		}
		return look(ctx)
	}
	done := s.run(t, ctx)
	for range 20 { // four times the time after which a node is given up
		select {
		case <-asked:
		case err := <-done:
			t.Fatalf("it ended with %v", err)
		}
	}
	s.ready.Store(true)
	if err := <-done; err != nil {
		t.Error(err)
	}
	// Else its drain would not wait for its sessions.
	if s.marks.Load() != 0 || s.kept != "" {
		t.Errorf("it has %d marks that it is given up, and kept %q", s.marks.Load(), s.kept)
	}
}

// TestGroupWaitsLater: an image boots so fast that its group does not wait yet. It hears of
// the node when it does.
func TestGroupWaitsLater(t *testing.T) {
	ctx := testkit.Context(t, time.Minute)
	s := newStarting(t)
	s.cloud.NoAction(true)
	s.ready.Store(true)
	done := s.run(t, ctx)
	testkit.Retry(ctx, t, "an answer that comes too early", func() error {
		if s.cloud.Refused() < 3 {
			return errors.New("nothing was refused")
		}
		return nil
	})
	s.cloud.NoAction(false)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if said := s.said(t); len(said) == 0 || said[len(said)-1] != "CompleteCONTINUE" {
		t.Errorf("the group heard %v", said)
	}
}

// TestWithoutGroup: nobody is told, and the error says what is missing.
func TestWithoutGroup(t *testing.T) {
	s := newStarting(t)
	s.c.Group, s.c.Within = nil, 50*time.Millisecond
	if err := Run(t.Context(), s.c); err == nil || errors.Is(err, ErrGivenUp) || !strings.Contains(err.Error(), "consul: no leader") {
		t.Errorf("it ended with %v", err)
	}
	s.ready.Store(true)
	if err := Run(t.Context(), s.c); err != nil {
		t.Error(err)
	}
}
